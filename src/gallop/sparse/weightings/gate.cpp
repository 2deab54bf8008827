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

const config::Register<Weighting, config::NoSettings> registered{
    "gate", "the gated scores as they are", "Expert Race, arXiv 2503.16057",
    [](const auto&, const auto&) { return std::make_unique<GateWeighting>(); }};

}  // namespace
}  // namespace gallop::sparse
