#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// LN(x) * (1 + scale) + shift for x [B, L, D], shift and scale [B, D]; LN without affine, over D.
/// DiT's adaLN (arXiv 2212.09748), eps 1e-6 there.
at::Tensor adaln_modulate(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                          const at::Tensor& scale_BD, double eps = 1e-6);

}  // namespace gallop::ops
