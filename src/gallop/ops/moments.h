#pragma once

#include <cstdint>

namespace gallop::ops {

/// The numbers of one AdamW step as its inner loop takes them.
struct Moments {
  float gradient_scale;
  float keep;                      ///< 1 - rate * weight decay
  float mean_share, square_share;  ///< 1 - beta
  float rate;                      ///< with the bias correction of the mean
  float root_scale;                ///< bias correction of the root mean square
  float eps;
  float average_share;
};

/// Elementwise; `average` may be null.
void step_moments(float* value, const float* gradient, float* mean, float* square, float* average,
                  int64_t count, const Moments& by);

}  // namespace gallop::ops
