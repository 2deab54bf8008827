#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "gallop/ops/cpu/int8_panels.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/ops/inference/thread_value.h"
#include "gallop/ops/inference/weight_forms.h"

/// Weights in 8 bits for inference: symmetric, with a scale for each output; activations are
/// brought to 8 bits as they come, with a scale for each row. Sums are exact, so a row of a result
/// has the same bits whatever the rows beside it and the threads.
namespace gallop::ops {

/// Weights in 8 bits beside those in float32, which stay as they are.
class Int8Weights : public WeightForms<Int8Panels> {
 public:
  /// Throws Error for an inner size above most_int8_K.
  explicit Int8Weights(const std::vector<at::Tensor>& weights, const Int8Tile& tile = int8_tile());

  /// Memory that they take.
  int64_t bytes() const;
  const Int8Tile& tile() const { return *tile_; }

 private:
  const Int8Tile* tile_;
};

/// As long as one lives, linear, linear_gelu and grouped_mlp (if both of its weights are there) use
/// these weights in 8 bits on this thread. What has a graph, other tensors and everything under a
/// ReferenceGuard stay as they are.
class Int8Guard : public ThreadValue<Int8Guard, const Int8Weights*> {
 public:
  explicit Int8Guard(const Int8Weights& weights) : ThreadValue(&weights) {}

  /// What this thread uses for the weights (see WeightForms); empty without a guard.
  static std::vector<std::span<const Int8Panels>> find(at::TensorList weights);
};

/// The same arithmetic in plain ATen.
at::Tensor linear_int8_reference(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, bool gelu);
at::Tensor grouped_mlp_int8_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                      const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                      const GroupedMlpWeights& mlp);

}  // namespace gallop::ops
