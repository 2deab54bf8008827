#include "gallop/sparse/losses/scope.h"

#include <ATen/ops/zeros.h>

namespace gallop::sparse {

at::Tensor squared_variation(const at::Tensor& x_GE) {
  if (x_GE.size(1) == 1) return x_GE.sum().mul(0);
  return x_GE.var(1, /*unbiased=*/true).div(x_GE.mean(1).square().add(1e-10)).mean();
}

at::Tensor weights_of(const RoutingRecord& record) {
  const Assignment& pairs = record.assignment;
  const int64_t E = pairs.experts();
  const at::Tensor flat_P = pairs.tokens.mul(E).add(pairs.expert_of_pairs());
  return at::zeros({record.mask_BLE.numel()}, pairs.weights.options())
      .index_add(0, flat_P, pairs.weights)
      .reshape(record.mask_BLE.sizes());
}

}  // namespace gallop::sparse
