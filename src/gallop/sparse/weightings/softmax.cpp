#include <limits>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/weighting.h"
#include "gallop/sparse/weightings/normalised.h"

namespace gallop::sparse {
namespace {

class SoftmaxWeighting : public Weighting {
 public:
  explicit SoftmaxWeighting(const NormalisedSettings& settings) : settings_(settings) {}
  at::Tensor weights(const Scores& scores, const Selected& selected) const override {
    const at::Tensor pairs_BLE = settings_.pairs(selected);
    // A token without a pair keeps all its logits: a row of -inf would have no softmax.
    const at::Tensor out_BLE =
        pairs_BLE.logical_not().logical_and(pairs_BLE.any(-1, /*keepdim=*/true));
    return scores.logits_BLE.masked_fill(out_BLE, -std::numeric_limits<double>::infinity())
        .softmax(-1)
        .mul(settings_.scale);
  }

 private:
  NormalisedSettings settings_;
};

const config::RegisterKind<Weighting, SoftmaxWeighting, NormalisedSettings> registered{
    "softmax", "softmax over the logits of a token's pairs", "Shazeer et al., arXiv 1701.06538"};

}  // namespace
}  // namespace gallop::sparse
