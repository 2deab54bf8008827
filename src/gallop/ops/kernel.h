#pragma once

#include <ATen/core/Tensor.h>

#include "gallop/ops/inference/thread_value.h"

namespace gallop::ops {

/// As long as one lives, this thread runs the references: the same model the usual way, to compare.
class ReferenceGuard : public ThreadValue<ReferenceGuard, bool> {
 public:
  ReferenceGuard() : ThreadValue(true) {}
};

/// Whether the kernels of this folder take these tensors: float32 on the CPU, their numbers lying
/// in memory as they are (no sparse ones, and none that another view calls negative). Undefined
/// ones do not count. Everything else runs as the operator's reference in plain ATen.
inline bool has_kernel(at::TensorList tensors) {
  if (ReferenceGuard::active()) return false;
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.defined()) continue;
    if (!tensor.is_cpu() || tensor.scalar_type() != at::kFloat) return false;
    if (tensor.layout() != at::kStrided || tensor.is_neg()) return false;
  }
  return true;
}

}  // namespace gallop::ops
