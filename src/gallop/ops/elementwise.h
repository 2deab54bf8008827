#pragma once

#include <cstdint>

/// What stands around the matrix products, row by row: `rows` rows of `width` floats, the rows of a
/// matrix `ld` apart.
namespace gallop::ops {

/// y += bias.
void add_bias(float* y, int64_t ld, const float* bias, int64_t rows, int64_t width);
/// z += bias (null: nothing), y = gelu_tanh(z).
void bias_gelu(float* z, float* y, int64_t ld, const float* bias, int64_t rows, int64_t width);
/// dz = dy * gelu_tanh'(z).
void gelu_backward(const float* z, const float* dy, float* dz, int64_t size);
/// y = gelu_tanh(z).
void gelu(const float* z, float* y, int64_t size);
/// sums = the sum of all rows, from the first to the last.
void sum_rows(const float* x, int64_t ld, int64_t rows, int64_t width, float* sums);
/// total += part.
void accumulate(float* total, const float* part, int64_t size);

}  // namespace gallop::ops
