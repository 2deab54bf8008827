#pragma once

#include <ATen/core/Tensor.h>

/// The parts of DiT's adaLN-Zero block (arXiv 2212.09748) that read one row of modulations a
/// sample: x, y are [B, L, D], shift, scale and gate [B, D].
namespace gallop::ops {

/// LN(x) * (1 + scale) + shift; LN without affine, over D; eps is 1e-6 in DiT.
at::Tensor adaln_modulate(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                          const at::Tensor& scale_BD, double eps = 1e-6);
/// The same, and x once more for whoever reads it too: its gradients through both then meet in the
/// pass of the backward and not in one of their own.
struct ModulatedAndKept {
  at::Tensor modulated_BLD, x_BLD;
};
ModulatedAndKept adaln_modulate_and_keep(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                                         const at::Tensor& scale_BD, double eps = 1e-6);
/// gate * y.
at::Tensor adaln_gate(const at::Tensor& gate_BD, const at::Tensor& y_BLD);
/// x + gate * y in one pass.
at::Tensor adaln_add(const at::Tensor& x_BLD, const at::Tensor& gate_BD, const at::Tensor& y_BLD);

/// The same in plain ATen.
at::Tensor adaln_modulate_reference(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                                    const at::Tensor& scale_BD, double eps = 1e-6);
at::Tensor adaln_gate_reference(const at::Tensor& gate_BD, const at::Tensor& y_BLD);
at::Tensor adaln_add_reference(const at::Tensor& x_BLD, const at::Tensor& gate_BD,
                               const at::Tensor& y_BLD);

}  // namespace gallop::ops
