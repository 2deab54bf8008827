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
/// sum = rows[0] * weights[0] + rows[1] * weights[1] ...; zero for count 0.
void weighted_sum(const float* const* rows, int64_t width, int64_t count, const float* weights,
                  float* sum);
/// The same over the rows index[0], index[1] ... of a matrix; weights (null: 1) by the same index.
void weighted_sum(const float* matrix, int64_t width, const int64_t* index, int64_t count,
                  const float* weights, float* sum);
/// The sum of x[i] * y[i].
float inner_product(const float* x, const float* y, int64_t size);
/// For a = gelu_tanh(z): dz = weight * da * gelu_tanh'(z) and wa = weight * a; returns the inner
/// product of da and a.
float gated_gelu_backward(const float* z, const float* da, float weight, int64_t size, float* dz,
                          float* wa);
/// total += part.
void accumulate(float* total, const float* part, int64_t size);

}  // namespace gallop::ops
