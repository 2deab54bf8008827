#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gallop::ops {

/// A parameter with what AdamW remembers of it; all of one shape. Without `average` there is none.
struct AdamWTensors {
  at::Tensor value, gradient, mean, square, average;
};

struct AdamWStep {
  int64_t step = 1;  ///< of the bias corrections, from 1
  double rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0;
  double gradient_scale = 1;  ///< on the gradients, before the moments
  double average_decay = 0;   ///< average <- average_decay * average + (1 - average_decay) * value
};

/// One step of AdamW (arXiv 1711.05101) and of the moving average of what comes out, in one pass
/// over memory. Values are contiguous.
void adamw_step(const std::vector<AdamWTensors>& tensors, const AdamWStep& step);
/// The same by ATen's fused step and an interpolation. The gradients may be scaled in place.
void adamw_step_reference(const std::vector<AdamWTensors>& tensors, const AdamWStep& step);

}  // namespace gallop::ops
