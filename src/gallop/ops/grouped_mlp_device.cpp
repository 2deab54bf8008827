#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>

#include "gallop/ops/activation.h"
#include "gallop/ops/grouped_mlp.h"

namespace gallop::ops {

bool has_grouped_products(const at::Tensor& x_TD, const GroupedMlpWeights& mlp) {
  // Rows of the matrices must begin at multiples of 16 bytes.
  const int64_t numbers = 16 / x_TD.element_size();
  const at::ScalarType type = x_TD.scalar_type();
  return (type == at::kFloat || type == at::kBFloat16) && mlp.w1_EHD.size(1) % numbers == 0 &&
         mlp.w1_EHD.size(2) % numbers == 0;
}

at::Tensor grouped_mlp_device(const at::Tensor& x_TD, const at::Tensor& offsets,
                              const at::Tensor& tokens_P, const at::Tensor& weights_P,
                              const GroupedMlpWeights& mlp) {
  const int64_t E = mlp.w1_EHD.size(0);
  const at::Tensor ends_E = offsets.narrow(0, 1, E).to(x_TD.device(), at::kInt);
  // The lengths of groups lie on the host already: nothing waits for the device.
  const at::Tensor expert_P =
      at::arange(E, offsets.options()).repeat_interleave(offsets.diff()).to(x_TD.device());
  const auto product = [&](const at::Tensor& rows, const at::Tensor& w_EOI,
                           const at::Tensor& b_EO) {
    return at::_grouped_mm(rows, w_EOI.mT(), ends_E).add(b_EO.index_select(0, expert_P));
  };
  const at::Tensor hidden_PH =
      gelu_tanh(product(x_TD.index_select(0, tokens_P), mlp.w1_EHD, mlp.b1_EH));
  const at::Tensor y_PD = product(hidden_PH, mlp.w2_EDH, mlp.b2_ED);
  return at::zeros_like(x_TD).index_add(0, tokens_P, y_PD.mul(weights_P.unsqueeze(1)));
}

}  // namespace gallop::ops
