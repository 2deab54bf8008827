#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "gallop/ops/grouped_mlp.h"
#include "gallop/ops/int8_panels.h"

/// Weights in 8 bits for inference: symmetric, with a scale for each output; activations are
/// brought to 8 bits as they come, with a scale for each row. Sums are exact, so a row of a result
/// has the same bits whatever the rows beside it and the threads.
namespace gallop::ops {

/// Weights in 8 bits beside those in float32, which stay as they are. Any thread may read it.
class Int8Weights {
 public:
  /// Weights [N, K] or [E, N, K]: contiguous, float32 on the CPU (else Error). They must not change
  /// afterwards: an operator that finds one changed in place throws Error.
  explicit Int8Weights(const std::vector<at::Tensor>& weights, const Int8Tile& tile = int8_tile());

  /// Numbers in all, and in the weights that an operator has used in 8 bits so far.
  int64_t numel() const;
  int64_t numel_used() const;
  /// Memory that they take.
  int64_t bytes() const;
  const Int8Tile& tile() const { return *tile_; }

  /// The panels of each weight: one for [N, K], which may be a part of a group, E for a group [E,
  /// N, K]. Empty unless all are here.
  std::vector<std::span<const Int8Panels>> find(at::TensorList weights) const;

 private:
  struct Entry {
    at::Tensor weight;  // keeps its address from being used again
    int64_t version;
    std::vector<Int8Panels> panels;
    mutable std::atomic<bool> used = false;
  };
  struct Place {
    const Entry* entry;
    int64_t index;
  };
  const Place* place_of(const at::Tensor& weight) const;

  const Int8Tile* tile_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::map<const void*, Place> places_;
};

/// As long as one lives, linear, linear_gelu and grouped_mlp (if both of its weights are there) use
/// these weights in 8 bits on this thread. What has a graph, other tensors and everything under a
/// ReferenceGuard stay as they are.
class Int8Guard {
 public:
  explicit Int8Guard(const Int8Weights& weights);
  ~Int8Guard();
  Int8Guard(const Int8Guard&) = delete;
  Int8Guard& operator=(const Int8Guard&) = delete;

  /// What this thread uses for the weights (see Int8Weights); empty without a guard.
  static std::vector<std::span<const Int8Panels>> find(at::TensorList weights);

 private:
  const Int8Weights* before_;
};

/// The same arithmetic in plain ATen.
at::Tensor linear_int8_reference(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, bool gelu);
at::Tensor grouped_mlp_int8_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                      const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                      const GroupedMlpWeights& mlp);

}  // namespace gallop::ops
