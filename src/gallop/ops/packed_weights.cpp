#include "gallop/ops/packed_weights.h"

#include "gallop/ops/precision.h"
#include "gallop/ops/products.h"

namespace gallop::ops {

namespace {

std::vector<Panels> cut(const at::Tensor& weight, const Bf16Tile* bf16) {
  return pack(weight.const_data_ptr<float>(), weight.dim() == 3 ? weight.size(0) : 1,
              weight.size(-1), weight.size(-2), /*transposed=*/true, bf16);
}

}  // namespace

PackedWeights::PackedWeights(const std::vector<at::Tensor>& weights)
    : WeightForms(weights, [bf16 = product_tile()](const at::Tensor& weight) {
        return cut(weight, bf16);
      }) {}

WeightPanels::WeightPanels(const at::Tensor& weight, const Bf16Tile* bf16) {
  if (const PackedWeights* packed = PackedGuard::active(); packed != nullptr) {
    const auto found = packed->find({weight});
    if (!found.empty() && !found[0].empty() && found[0][0].bf16() == bf16) {
      panels_ = found[0];
      return;
    }
  }
  own_ = cut(weight, bf16);
  panels_ = own_;
}

}  // namespace gallop::ops
