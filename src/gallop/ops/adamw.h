#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <optional>
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

struct Largest;
struct Moments;
/// The step as its kernels take it (ops/cpu/moments.h).
Moments moments_of(const AdamWStep& step);

/// No number of the tensors is larger in magnitude. Infinite where nothing is known; infinite or
/// NaN where one of the numbers is.
struct AdamWBounds {
  double weight = std::numeric_limits<double>::infinity();  ///< of values and averages
  double mean = std::numeric_limits<double>::infinity();
  double square = std::numeric_limits<double>::infinity();

  static AdamWBounds of_nothing() { return {0, 0, 0}; }
  /// Widens these to hold for what `other` holds for, too.
  void cover(const AdamWBounds& other);
  bool finite() const;
};

/// What a step leaves of tensors within `before`, if the norm of their gradients is at most
/// `gradient_norm`, by arithmetic alone: far above what happens, and finite all the same unless
/// learning rate, eps or gradients are out of all proportion. NaN or infinite where a result, or a
/// number on the way to it, could leave the range of float32.
AdamWBounds bounds_after(const AdamWBounds& before, const AdamWStep& step, double gradient_norm);
/// As they are.
AdamWBounds bounds_of(const AdamWTensors& tensors);
/// Of all that the kernels found.
AdamWBounds bounds_of(const std::vector<Largest>& found);

/// One step of AdamW (arXiv 1711.05101) and of the moving average of what comes out, in one pass
/// over memory. Values are contiguous. Returns the exact bounds of the results, found in the same
/// pass; nothing where the reference took the step.
std::optional<AdamWBounds> adamw_step(const std::vector<AdamWTensors>& tensors,
                                      const AdamWStep& step);
/// The bounds of what the step would leave, without taking it.
AdamWBounds try_adamw_step(const AdamWTensors& tensors, const AdamWStep& step);
/// The same as adamw_step by ATen's fused step and an interpolation. The gradients may be scaled in
/// place.
void adamw_step_reference(const std::vector<AdamWTensors>& tensors, const AdamWStep& step);

}  // namespace gallop::ops
