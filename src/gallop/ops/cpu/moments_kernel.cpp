#include "gallop/ops/cpu/moments.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "gallop/ops/cpu/lanes.h"

namespace gallop::ops {

namespace {

GALLOP_INLINE float step_one(float value, float gradient, float& mean, float& square,
                             const Moments& by) {
  gradient *= by.gradient_scale;
  mean += by.mean_share * (gradient - mean);
  square += by.square_share * (gradient * gradient - square);
  return value * by.keep - by.rate * mean / (std::sqrt(square) * by.root_scale + by.eps);
}

GALLOP_INLINE int32_t magnitude(float x) { return std::bit_cast<int32_t>(x) & 0x7fffffff; }

// Float is `float` where results are written, else `const float`.
template <bool averages, class Float>
GALLOP_INLINE Largest pass(Float* __restrict value, const float* __restrict gradient,
                           Float* __restrict mean, Float* __restrict square,
                           Float* __restrict average, int64_t count, const Moments& by) {
  constexpr bool writes = !std::is_const_v<Float>;
  const Moments m = by;
  Largest largest;
  for (int64_t i = 0; i < count; ++i) {
    float next_mean = mean[i], next_square = square[i];
    const float next = step_one(value[i], gradient[i], next_mean, next_square, m);
    largest.weight = std::max(largest.weight, magnitude(next));
    largest.mean = std::max(largest.mean, magnitude(next_mean));
    largest.square = std::max(largest.square, magnitude(next_square));
    if constexpr (averages) {
      const float moved = average[i] + m.average_share * (next - average[i]);
      largest.weight = std::max(largest.weight, magnitude(moved));
      if constexpr (writes) average[i] = moved;
    }
    if constexpr (writes) {
      value[i] = next;
      mean[i] = next_mean;
      square[i] = next_square;
    }
  }
  return largest;
}

}  // namespace

GALLOP_CLONES
Largest step_moments(float* __restrict value, const float* __restrict gradient,
                     float* __restrict mean, float* __restrict square, float* __restrict average,
                     int64_t count, const Moments& by) {
  if (average == nullptr) return pass<false>(value, gradient, mean, square, average, count, by);
  return pass<true>(value, gradient, mean, square, average, count, by);
}

GALLOP_CLONES
Largest try_moments(const float* value, const float* gradient, const float* mean,
                    const float* square, const float* average, int64_t count, const Moments& by) {
  if (average == nullptr) return pass<false>(value, gradient, mean, square, average, count, by);
  return pass<true>(value, gradient, mean, square, average, count, by);
}

}  // namespace gallop::ops
