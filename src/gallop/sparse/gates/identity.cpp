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

const config::RegisterKind<Gate, IdentityGate> registered{"identity", "weight = logit",
                                                          "Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::sparse
