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

const config::RegisterKind<Gate, SigmoidGate> registered{
    "sigmoid", "weight = sigmoid(logit), each expert for itself", "Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::sparse
