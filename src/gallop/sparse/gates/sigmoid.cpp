#include "gallop/config/registry.h"
#include "gallop/sparse/gate.h"

namespace gallop::sparse {
namespace {

class SigmoidGate : public Gate {
 public:
  Scores scores(const at::Tensor& logits_BLE) const override {
    return {logits_BLE, logits_BLE.sigmoid(), logits_BLE};
  }
};

const config::Register<Gate, config::NoSettings> registered{
    "sigmoid", "weight = sigmoid(logit), each expert for itself", "Expert Race, arXiv 2503.16057",
    [](const auto&, const auto&) { return std::make_unique<SigmoidGate>(); }};

}  // namespace
}  // namespace gallop::sparse
