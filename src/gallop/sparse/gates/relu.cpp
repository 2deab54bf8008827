#include "gallop/config/registry.h"
#include "gallop/sparse/choice/gate.h"

namespace gallop::sparse {
namespace {

class ReluGate : public Gate {
 public:
  std::vector<std::string> shows() const override { return {exact_zeros}; }
  Scores scores(const GateInput& in) const override {
    return {in.logits_BLE, in.logits_BLE.relu(), in.logits_BLE};
  }
};

const config::RegisterKind<Gate, ReluGate> registered{
    "relu", "weight = max(0, logit): experts switch on and off without a jump",
    "ReMoE, arXiv 2412.14711"};

}  // namespace
}  // namespace gallop::sparse
