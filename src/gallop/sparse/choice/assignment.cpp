#include "gallop/sparse/choice/assignment.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

namespace gallop::sparse {

at::Tensor Assignment::loads() const { return offsets.diff(); }

at::Tensor Assignment::expert_of_pairs() const {
  return at::arange(experts()).repeat_interleave(loads()).to(tokens.device());
}

Assignment make_assignment(const at::Tensor& mask_BLE, const at::Tensor& gate_BLE) {
  const int64_t E = mask_BLE.size(-1);
  const at::Tensor mask_ET = mask_BLE.reshape({-1, E}).t();
  const at::Tensor pairs_P2 = mask_ET.nonzero();  // sorted by expert, then token
  Assignment result;
  result.tokens = pairs_P2.select(1, 1).contiguous();
  const at::Tensor flat_P = result.tokens.mul(E).add(pairs_P2.select(1, 0));
  result.weights = gate_BLE.reshape(-1).index_select(0, flat_P);
  result.offsets = at::zeros({E + 1}, at::TensorOptions(at::kLong));
  result.offsets.narrow(0, 1, E).copy_(mask_ET.sum(1).cumsum(0));
  return result;
}

}  // namespace gallop::sparse
