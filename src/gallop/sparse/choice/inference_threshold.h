#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"

namespace gallop::sparse {

/// Thresholds for ranges of noise levels. `edges` are the inner borders, ascending, in the times
/// that the network is given: range i holds the times from edges[i-1] on that are below edges[i].
struct ThresholdLevels {
  std::vector<double> edges;
  at::Tensor values;  ///< [ranges, shape of the threshold]

  /// The range of each time, int64.
  at::Tensor range_of(const at::Tensor& time_B) const;
};

/// The buffer `threshold` of a selection, and in its place, as long as someone has set them, one
/// threshold for each range of noise levels (the compute dial).
class InferenceThreshold : public nn::Parameter {
 public:
  InferenceThreshold(nn::Module& owner, std::vector<int64_t> shape, double initial);

  /// [1, shape] for all samples of this forward, or [B, shape] by the noise level of each. Throws
  /// Error if there are levels and the forward has no times.
  at::Tensor of_samples(const nn::ForwardContext& ctx) const;
  /// Throws Error where values are not [edges + 1, shape].
  void set_levels(ThresholdLevels levels);
  void clear_levels() noexcept { levels_.reset(); }

 private:
  std::optional<ThresholdLevels> levels_;
};

}  // namespace gallop::sparse
