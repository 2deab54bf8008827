#pragma once

#include <cstdint>

/// The kernels of adaln.h, on rows of D floats.
namespace gallop::ops {

/// y = (x - mean) / sqrt(variance + eps) * (1 + scale) + shift of one row.
void normalize_modulate(const float* x, const float* shift, const float* scale, int64_t D,
                        float eps, float* y);
/// Its gradients for the L rows of a sample; dshift and dscale are sums over them. `more` (null:
/// nothing), another gradient of x, is added to dx.
void normalize_modulate_backward(const float* x, const float* scale, const float* dy,
                                 const float* more, int64_t L, int64_t D, float eps, float* dx,
                                 float* dshift, float* dscale);

/// out = gate * y of one row.
void multiply_elements(const float* gate, const float* y, int64_t D, float* out);
/// out = x + gate * y of one row.
void add_multiplied(const float* x, const float* gate, const float* y, int64_t D, float* out);
/// The gradients of gate and y of both for the L rows of a sample; dgate is a sum over them.
void multiply_elements_backward(const float* gate, const float* y, const float* dout, int64_t L,
                                int64_t D, float* dgate, float* dy);

}  // namespace gallop::ops
