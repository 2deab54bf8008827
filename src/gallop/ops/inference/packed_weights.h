#pragma once

#include <span>
#include <vector>

#include "gallop/ops/cpu/gemm.h"
#include "gallop/ops/inference/thread_value.h"
#include "gallop/ops/inference/weight_forms.h"

/// Weights that are cut into panels once for many forwards. With few rows cutting costs as much as
/// the product; results have the same bits either way.
namespace gallop::ops {

/// Weights beside their panels, in the precision of this thread's products when it is made.
class PackedWeights : public WeightForms<Panels> {
 public:
  explicit PackedWeights(const std::vector<at::Tensor>& weights);
  /// The panels of the transpose of a weight, or of each of a group; empty unless they are here and
  /// in this precision.
  std::span<const Panels> panels_of(const at::Tensor& weight, const Bf16Tile* bf16) const;
};

/// As long as one lives, linear, linear_gelu and grouped_mlp use these panels on this thread for
/// products in their precision. The weights may have a graph; their gradients do not come from
/// here.
class PackedGuard : public ThreadValue<PackedGuard, const PackedWeights*> {
 public:
  explicit PackedGuard(const PackedWeights& weights) : ThreadValue(&weights) {}
};

}  // namespace gallop::ops
