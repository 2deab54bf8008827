#include <algorithm>

#include "gallop/ops/cpu/elementwise.h"
#include "gallop/ops/cpu/lanes.h"

namespace gallop::ops {

GALLOP_CLONES
void add_bias(float* y, int64_t ld, const float* bias, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r, y += ld) {
    for (int64_t i = 0; i < width; ++i) y[i] += bias[i];
  }
}

GALLOP_CLONES
void bias_gelu(float* z, float* y, int64_t ld, const float* bias, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r, z += ld, y += ld) {
    for (int64_t i = 0; i < width; i += lane_count) {
      const int64_t count = group(i, width);
      Lanes value = load(z + i, count);
      if (bias != nullptr) {
        value += load(bias + i, count);
        store(z + i, value, count);
      }
      store(y + i, gelu_tanh(value), count);
    }
  }
}

GALLOP_CLONES
void gelu_backward(const float* z, const float* dy, float* dz, int64_t size) {
  for (int64_t i = 0; i < size; i += lane_count) {
    const int64_t count = group(i, size);
    const Lanes value = load(z + i, count);
    const Lanes slope = gelu_tanh_slope(value, gelu_sigmoid(value));
    store(dz + i, load(dy + i, count) * slope, count);
  }
}

GALLOP_CLONES
void gelu(const float* z, float* y, int64_t size) {
  for (int64_t i = 0; i < size; i += lane_count) {
    const int64_t count = group(i, size);
    store(y + i, gelu_tanh(load(z + i, count)), count);
  }
}

GALLOP_CLONES
void sum_rows(const float* x, int64_t ld, int64_t rows, int64_t width, float* sums) {
  std::fill(sums, sums + width, 0.0F);
  for (int64_t r = 0; r < rows; ++r, x += ld) {
    for (int64_t i = 0; i < width; ++i) sums[i] += x[i];
  }
}

GALLOP_CLONES
void weighted_sum(const float* const* rows, int64_t width, int64_t count, const float* weights,
                  float* sum) {
  std::fill(sum, sum + width, 0.0F);
  for (int64_t r = 0; r < count; ++r) {
    const float* row = rows[r];
    const float weight = weights[r];
    for (int64_t i = 0; i < width; ++i) sum[i] += weight * row[i];
  }
}

GALLOP_CLONES
void weighted_sum(const float* matrix, int64_t width, const int64_t* index, int64_t count,
                  const float* weights, float* sum) {
  std::fill(sum, sum + width, 0.0F);
  for (int64_t r = 0; r < count; ++r) {
    const float* row = matrix + index[r] * width;
    const float weight = weights == nullptr ? 1.0F : weights[index[r]];
    for (int64_t i = 0; i < width; ++i) sum[i] += weight * row[i];
  }
}

GALLOP_CLONES
float inner_product(const float* x, const float* y, int64_t size) {
  Lanes total = {};
  for (int64_t i = 0; i < size; i += lane_count) {
    const int64_t count = group(i, size);
    total += load(x + i, count) * load(y + i, count);
  }
  return sum(total);
}

GALLOP_CLONES
float gated_gelu_backward(const float* z, const float* da, float weight, int64_t size, float* dz,
                          float* wa) {
  Lanes total = {};
  for (int64_t i = 0; i < size; i += lane_count) {
    const int64_t count = group(i, size);
    const Lanes value = load(z + i, count), slope = load(da + i, count);
    const Lanes s = gelu_sigmoid(value), a = value * s;
    total += slope * a;
    store(dz + i, weight * slope * gelu_tanh_slope(value, s), count);
    store(wa + i, weight * a, count);
  }
  return sum(total);
}

GALLOP_CLONES
void accumulate(float* total, const float* part, int64_t size) {
  for (int64_t i = 0; i < size; ++i) total[i] += part[i];
}

}  // namespace gallop::ops
