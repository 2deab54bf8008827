#include "gallop/config/registry.h"
#include "gallop/sparse/choice/weighting.h"

namespace gallop::sparse {
namespace {

class GateWeighting : public Weighting {
 public:
  at::Tensor weights(const Scores& scores, const Selected&) const override {
    return scores.gate_BLE;
  }
};

const config::RegisterKind<Weighting, GateWeighting> registered{
    "gate", "the gated scores as they are", "Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::sparse
