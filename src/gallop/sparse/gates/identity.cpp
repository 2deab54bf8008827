#include "gallop/config/registry.h"
#include "gallop/sparse/choice/gate.h"

namespace gallop::sparse {
namespace {

// The weight is the raw logit, so the order of scores across tokens is kept; it may be negative.
class IdentityGate : public Gate {
 public:
  Scores scores(const GateInput& in) const override {
    return {in.logits_BLE, in.logits_BLE, in.logits_BLE};
  }
};

const config::Register<Gate, config::NoSettings> registered{
    "identity", "weight = logit", "Expert Race, arXiv 2503.16057",
    [](const auto&, const auto&) { return std::make_unique<IdentityGate>(); }};

}  // namespace
}  // namespace gallop::sparse
