#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// The tensors of E two-layer MLPs.
struct GroupedMlpWeights {
  at::Tensor w1_EHD, b1_EH, w2_EDH, b2_ED;
};

/// y_t = sum over pairs p of token t, in order of the pairs, of weights_p * (W2_e gelu_tanh(W1_e
/// x_t + b1_e) + b2_e). x_TD; offsets [E+1] int64 on the CPU and tokens_P int64 as in
/// sparse::Pairs; returns [T, D], exact zeros for tokens without a pair. Differentiable in x,
/// weights and all four tensors. Offsets that do not ascend from 0 to P, tokens out of range and
/// sizes or types that do not fit are Errors. PrecisionGuard says how the operands of the products
/// are rounded; Error where it wants what this CPU does not have.
at::Tensor grouped_mlp(const at::Tensor& x_TD, const at::Tensor& offsets,
                       const at::Tensor& tokens_P, const at::Tensor& weights_P,
                       const GroupedMlpWeights& mlp);
/// The same in plain ATen, in the precision of PrecisionGuard on every processor.
at::Tensor grouped_mlp_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                 const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                 const GroupedMlpWeights& mlp);

/// The same with libtorch's grouped products, which other devices run where
/// `has_grouped_products`: no expert waits for the host.
at::Tensor grouped_mlp_device(const at::Tensor& x_TD, const at::Tensor& offsets,
                              const at::Tensor& tokens_P, const at::Tensor& weights_P,
                              const GroupedMlpWeights& mlp);
/// Whether libtorch's grouped products take these types and widths.
bool has_grouped_products(const at::Tensor& x_TD, const GroupedMlpWeights& mlp);

}  // namespace gallop::ops
