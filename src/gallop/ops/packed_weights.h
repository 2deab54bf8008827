#pragma once

#include <span>
#include <vector>

#include "gallop/ops/gemm.h"
#include "gallop/ops/thread_value.h"
#include "gallop/ops/weight_forms.h"

/// Weights that are cut into panels once for many forwards. With few rows cutting costs as much as
/// the product; results have the same bits either way.
namespace gallop::ops {

/// Weights beside their panels, in the precision of this thread's products when it is made.
class PackedWeights : public WeightForms<Panels> {
 public:
  explicit PackedWeights(const std::vector<at::Tensor>& weights);
};

/// As long as one lives, linear, linear_gelu and grouped_mlp use these panels on this thread for
/// products in their precision. The weights may have a graph; their gradients do not come from
/// here.
class PackedGuard : public ThreadValue<PackedGuard, const PackedWeights*> {
 public:
  explicit PackedGuard(const PackedWeights& weights) : ThreadValue(&weights) {}
};

/// The panels that multiply by the transpose of a contiguous weight [N, K], or of each of a group
/// [E, N, K]: those of the PackedGuard, or cut now.
class WeightPanels {
 public:
  WeightPanels(const at::Tensor& weight, const Bf16Tile* bf16);
  WeightPanels(const WeightPanels&) = delete;
  WeightPanels& operator=(const WeightPanels&) = delete;
  std::span<const Panels> all() const { return panels_; }
  const Panels& operator[](int64_t i) const { return panels_[i]; }

 private:
  std::vector<Panels> own_;
  std::span<const Panels> panels_;
};

}  // namespace gallop::ops
