#include <ATen/ops/ones_like.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/weighting.h"

namespace gallop::sparse {
namespace {

// No gradient reaches the router.
class OneWeighting : public Weighting {
 public:
  at::Tensor weights(const Scores& scores, const Selected&) const override {
    return at::ones_like(scores.gate_BLE);
  }
};

const config::RegisterKind<Weighting, OneWeighting> registered{"one", "1 for every kept pair",
                                                               "EMoE, arXiv 2310.10908"};

}  // namespace
}  // namespace gallop::sparse
