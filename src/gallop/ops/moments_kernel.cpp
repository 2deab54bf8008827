#include "gallop/ops/moments.h"

#include <cmath>

#include "gallop/ops/lanes.h"

namespace gallop::ops {

namespace {

GALLOP_INLINE float step_one(float value, float gradient, float& mean, float& square,
                             const Moments& by) {
  gradient *= by.gradient_scale;
  mean += by.mean_share * (gradient - mean);
  square += by.square_share * (gradient * gradient - square);
  return value * by.keep - by.rate * mean / (std::sqrt(square) * by.root_scale + by.eps);
}

}  // namespace

GALLOP_CLONES
void step_moments(float* __restrict value, const float* __restrict gradient, float* __restrict mean,
                  float* __restrict square, float* __restrict average, int64_t count,
                  const Moments& by) {
  const Moments m = by;
  if (average == nullptr) {
    for (int64_t i = 0; i < count; ++i) {
      value[i] = step_one(value[i], gradient[i], mean[i], square[i], m);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    value[i] = step_one(value[i], gradient[i], mean[i], square[i], m);
    average[i] += m.average_share * (value[i] - average[i]);
  }
}

}  // namespace gallop::ops
