#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the GELU of DiT.
at::Tensor gelu_tanh(const at::Tensor& x);
/// The same in plain ATen.
at::Tensor gelu_tanh_reference(const at::Tensor& x);

}  // namespace gallop::ops
