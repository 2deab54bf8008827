#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/weighting.h"
#include "gallop/sparse/weightings/normalised.h"

namespace gallop::sparse {
namespace {

class SumWeighting : public Weighting {
 public:
  explicit SumWeighting(const NormalisedSettings& settings) : settings_(settings) {}
  at::Tensor weights(const Scores& scores, const Selected& selected) const override {
    const at::Tensor pairs_BLE = settings_.pairs(selected);
    const at::Tensor sum_BL1 = scores.gate_BLE.mul(pairs_BLE).sum(-1, /*keepdim=*/true);
    // A token without a pair has no sum to divide by, and no weight that anyone uses.
    const at::Tensor empty_BL1 = pairs_BLE.any(-1, /*keepdim=*/true).logical_not();
    const at::Tensor divisor_BL1 = at::where(empty_BL1, at::ones_like(sum_BL1), sum_BL1);
    return scores.gate_BLE.div(divisor_BL1).mul(settings_.scale);
  }

 private:
  NormalisedSettings settings_;
};

const config::RegisterKind<Weighting, SumWeighting, NormalisedSettings> registered{
    "sum", "the gated scores divided by their sum over a token's pairs",
    "GShard, arXiv 2006.16668; DeepSeek-V3, arXiv 2412.19437"};

}  // namespace
}  // namespace gallop::sparse
