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

// Rows lie anywhere in memory: each is asked for while others are worked on.
GALLOP_INLINE void fetch(const float* row, int64_t width) {
  constexpr int64_t floats_of_a_line = 16;
  for (int64_t i = 0; i < width; i += floats_of_a_line) __builtin_prefetch(row + i, 1);
}

template <bool averages, bool writes>
GALLOP_INLINE Largest row_pass(const RowMoments& table, const int64_t* rows, const float* gradients,
                               int64_t count, int64_t width, const Moments& by,
                               const ClockTick& tick) {
  constexpr int64_t ahead = 4;
  const Moments m = by;
  const ClockTick t = tick;
  Largest largest;
  for (int64_t i = 0; i < count; ++i) {
    if (i + ahead < count) {
      const int64_t begin = rows[i + ahead] * width;
      for (const float* x : {table.value, table.mean, table.square}) fetch(x + begin, width);
      if (averages) fetch(table.gap + begin, width);
    }
    const int64_t begin = rows[i] * width;
    float* __restrict value = table.value + begin;
    float* __restrict mean = table.mean + begin;
    float* __restrict square = table.square + begin;
    float* __restrict gap = averages ? table.gap + begin : nullptr;
    const float* __restrict gradient = gradients + i * width;
    // The share of the gap that is left of what it was when the row was touched last.
    float held = 0;
    if constexpr (averages) held = static_cast<float>(std::exp(table.clock[rows[i]] - t.before));
    for (int64_t d = 0; d < width; ++d) {
      float next_mean = mean[d], next_square = square[d];
      const float next = step_one(value[d], gradient[d], next_mean, next_square, m);
      largest.weight = std::max(largest.weight, magnitude(next));
      largest.mean = std::max(largest.mean, magnitude(next_mean));
      largest.square = std::max(largest.square, magnitude(next_square));
      if constexpr (averages) {
        const float next_gap = t.decay * (value[d] + held * gap[d] - next);
        largest.weight = std::max(largest.weight, magnitude(next + next_gap));
        if constexpr (writes) gap[d] = next_gap;
      }
      if constexpr (writes) {
        value[d] = next;
        mean[d] = next_mean;
        square[d] = next_square;
      }
    }
    if constexpr (averages && writes) table.clock[rows[i]] = t.after;
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

GALLOP_CLONES
Largest step_rows(const RowMoments& table, const int64_t* rows, const float* gradient,
                  int64_t count, int64_t width, const Moments& by, const ClockTick& tick) {
  if (table.gap == nullptr)
    return row_pass<false, true>(table, rows, gradient, count, width, by, tick);
  return row_pass<true, true>(table, rows, gradient, count, width, by, tick);
}

GALLOP_CLONES
Largest try_rows(const RowMoments& table, const int64_t* rows, const float* gradient, int64_t count,
                 int64_t width, const Moments& by, const ClockTick& tick) {
  if (table.gap == nullptr)
    return row_pass<false, false>(table, rows, gradient, count, width, by, tick);
  return row_pass<true, false>(table, rows, gradient, count, width, by, tick);
}

}  // namespace gallop::ops
