#include "gallop/sparse/choice/inference_threshold.h"

#include <ATen/ops/bucketize.h>
#include <ATen/ops/tensor.h>

#include "gallop/base/error.h"

namespace gallop::sparse {

at::Tensor ThresholdLevels::range_of(const at::Tensor& time_B) const {
  const at::Tensor borders = at::tensor(edges, at::TensorOptions(at::kDouble)).to(time_B.device());
  return at::bucketize(time_B.to(at::kDouble), borders, /*out_int32=*/false, /*right=*/true);
}

InferenceThreshold::InferenceThreshold(nn::Module& owner, std::vector<int64_t> shape,
                                       double initial)
    : nn::Parameter(owner, "threshold", std::move(shape), nn::Init::constant(initial),
                    {.decay = false, .buffer = true}) {}

at::Tensor InferenceThreshold::of_samples(const nn::ForwardContext& ctx) const {
  if (!levels_) return (**this).unsqueeze(0);
  if (levels_->edges.empty()) return levels_->values.to((**this).options());
  require(ctx.timestep_B.defined(), name(),
          ": there are thresholds for ranges of noise levels, and this forward has no times");
  return levels_->values.to((**this).options()).index_select(0, levels_->range_of(ctx.timestep_B));
}

void InferenceThreshold::set_levels(ThresholdLevels levels) {
  std::vector<int64_t> expected{static_cast<int64_t>(levels.edges.size()) + 1};
  expected.insert(expected.end(), shape().begin(), shape().end());
  require(levels.values.sizes() == at::IntArrayRef(expected), name(), ": thresholds of shape ",
          levels.values.sizes(), " for ", expected[0], " ranges of noise levels; expected is ",
          at::IntArrayRef(expected));
  levels_ = std::move(levels);
}

}  // namespace gallop::sparse
