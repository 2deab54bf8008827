#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// x W^T + b for x [..., in], weight [out, in], bias [out] or undefined. A row of the result has
/// the same bits whatever the number of rows and of threads (float32 on the CPU; elsewhere ATen's).
/// PrecisionGuard says how operands are rounded; Error where it wants what this CPU does not have.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
/// gelu_tanh(linear(x, weight, bias)).
at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// The same in plain ATen, in the precision of PrecisionGuard on every processor.
at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
at::Tensor linear_gelu_reference(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias);

}  // namespace gallop::ops
