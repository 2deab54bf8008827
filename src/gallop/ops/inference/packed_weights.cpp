#include "gallop/ops/inference/packed_weights.h"

#include "gallop/ops/cpu/right_matrices.h"
#include "gallop/ops/precision.h"

namespace gallop::ops {

PackedWeights::PackedWeights(const std::vector<at::Tensor>& weights)
    : WeightForms(weights, [bf16 = product_tile()](const at::Tensor& weight) {
        return cut(weight, Side::transposed, bf16);
      }) {}

std::span<const Panels> PackedWeights::panels_of(const at::Tensor& weight,
                                                 const Bf16Tile* bf16) const {
  const auto found = find({weight});
  const bool fit = !found.empty() && !found[0].empty() && found[0][0].bf16() == bf16;
  return fit ? found[0] : std::span<const Panels>();
}

}  // namespace gallop::ops
