#include "gallop/config/registry.h"
#include "gallop/sparse/choice/gate.h"

namespace gallop::sparse {
namespace {

class SigmoidGate : public Gate {
 public:
  Scores scores(const GateInput& in) const override {
    return {in.logits_BLE, in.logits_BLE.sigmoid(), in.logits_BLE};
  }
};

const config::Register<Gate, config::NoSettings> registered{
    "sigmoid", "weight = sigmoid(logit), each expert for itself", "Expert Race, arXiv 2503.16057",
    [](const auto&, const auto&) { return std::make_unique<SigmoidGate>(); }};

}  // namespace
}  // namespace gallop::sparse
