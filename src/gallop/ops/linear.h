#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// x W^T + b for x [..., in], weight [out, in], bias [out] or undefined.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace gallop::ops
