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

/// Bits of the largest magnitudes among the results of a step: as integers they are ordered like
/// the numbers, then infinity, then NaN.
struct Largest {
  int32_t weight = 0;  ///< of values and averages
  int32_t mean = 0, square = 0;
};

/// Elementwise; `average` may be null.
Largest step_moments(float* value, const float* gradient, float* mean, float* square,
                     float* average, int64_t count, const Moments& by);
/// The same without writing.
Largest try_moments(const float* value, const float* gradient, const float* mean,
                    const float* square, const float* average, int64_t count, const Moments& by);

/// A table in memory, its rows one after the other; see AdamWRows. Without an average `gap` and
/// `clock` are null.
struct RowMoments {
  float *value, *mean, *square, *gap;
  double* clock;  ///< one a row
};
/// What the clock of averages reads before and after a step, and the decay of the step.
struct ClockTick {
  double before = 0, after = 0;
  float decay = 0;
};
/// Rows of a table, each named once, by a gradient of which one row follows the other.
Largest step_rows(const RowMoments& table, const int64_t* rows, const float* gradient,
                  int64_t count, int64_t width, const Moments& by, const ClockTick& tick);
/// The same without writing.
Largest try_rows(const RowMoments& table, const int64_t* rows, const float* gradient, int64_t count,
                 int64_t width, const Moments& by, const ClockTick& tick);

}  // namespace gallop::ops
