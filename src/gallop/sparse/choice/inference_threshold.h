#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
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

/// One setting of the compute dial: by the name of a threshold what stands in its place.
using ThresholdSetting = std::map<std::string, ThresholdLevels>;

/// What a forward uses in place of the thresholds of its model, so that rows of one batch may run
/// with different numbers of experts, and a model that several threads share is never changed.
struct RowThresholds {
  std::vector<const ThresholdSetting*> settings;  ///< null pointer: the model's own thresholds
  at::Tensor setting_B;  ///< int64, which of them each row uses; undefined: all rows the first
};

/// Those of a forward by what each of its rows wants; null pointer: the model's own.
RowThresholds thresholds_of_rows(const std::vector<const ThresholdSetting*>& wanted,
                                 at::Device device);

/// The buffer `threshold` of a selection.
class InferenceThreshold : public nn::Parameter {
 public:
  InferenceThreshold(nn::Module& owner, std::vector<int64_t> shape, double initial);

  /// [1, shape] for all samples of this forward, or [B, shape] by setting and noise level of each.
  /// Throws Error if there are levels and the forward has no times.
  at::Tensor of_samples(const nn::ForwardContext& ctx) const;
  /// Throws Error where values are not [edges + 1, shape].
  void require_fit(const ThresholdLevels& levels) const;

 private:
  at::Tensor by_setting(const ThresholdSetting* setting, const nn::ForwardContext& ctx) const;
};

}  // namespace gallop::sparse
