#pragma once

#include <cstdint>

/// The kernels of attention.h, on `rows` rows of L scores; the rows are ld apart, L rounded up to a
/// multiple of 8 or more, and what is behind a row's scores is zero.
namespace gallop::ops {

/// s = exp(scale * (s - max of its row)); inverse[r] = 1 / the sum of row r.
void softmax_numerators(float* s, int64_t ld, int64_t rows, int64_t L, float scale, float* inverse);
/// Row r of x [rows, width] times factor[r].
void scale_rows(float* x, int64_t ld, int64_t rows, int64_t width, const float* factor);
/// ds = scale * p * (dp - sum over the row of p * dp), in place of dp.
void softmax_backward(const float* p, float* dp, int64_t ld, int64_t rows, int64_t L, float scale);

}  // namespace gallop::ops
