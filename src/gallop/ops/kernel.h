#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// Whether the kernels of this folder take these tensors: float32 on the CPU. Undefined ones do not
/// count. Everything else runs as the operator's reference in plain ATen.
inline bool has_kernel(at::TensorList tensors) {
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined() && (!tensor.is_cpu() || tensor.scalar_type() != at::kFloat)) return false;
  }
  return true;
}

}  // namespace gallop::ops
