#include "gallop/ops/cpu/modulation.h"

#include <algorithm>
#include <cmath>

#include "gallop/ops/cpu/lanes.h"

namespace gallop::ops {

namespace {

struct Moments {
  float mean, scale;  // scale = 1 / sqrt(variance + eps)
};

GALLOP_INLINE Moments moments(const float* x, int64_t D, float eps) {
  const Lanes total = sum_groups(
      D, [=](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA { return load(x + i, count); });
  const float mean = sum(total) / static_cast<float>(D);
  const Lanes squares = sum_groups(D, [=](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA {
    const Lanes distance = first(load(x + i, count) - mean, count);
    return distance * distance;
  });
  return {mean, 1.0F / std::sqrt(sum(squares) / static_cast<float>(D) + eps)};
}

}  // namespace

GALLOP_CLONES
void normalize_modulate(const float* x, const float* shift, const float* scale, int64_t D,
                        float eps, float* y) {
  const Moments m = moments(x, D, eps);
  for_groups(D, [=](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA {
    const Lanes normed = (load(x + i, count) - m.mean) * m.scale;
    store(y + i, normed * (load(scale + i, count) + 1.0F) + load(shift + i, count), count);
  });
}

GALLOP_CLONES
void normalize_modulate_backward(const float* x, const float* scale, const float* dy,
                                 const float* more, int64_t L, int64_t D, float eps, float* dx,
                                 float* dshift, float* dscale) {
  std::fill(dshift, dshift + D, 0.0F);
  std::fill(dscale, dscale + D, 0.0F);
  for (int64_t l = 0; l < L; ++l, x += D, dy += D, dx += D) {
    const Moments m = moments(x, D, eps);
    // With g = dy * (1 + scale): dx = (g - mean(g) - normed * mean(g * normed)) * m.scale.
    Lanes g_sum = {}, projection_sum = {};
    for_groups(D, [&](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA {
      const Lanes normed = (load(x + i, count) - m.mean) * m.scale, slope = load(dy + i, count);
      const Lanes g = slope * (load(scale + i, count) + 1.0F);
      g_sum += g;
      projection_sum += g * normed;
      store(dshift + i, load(dshift + i, count) + slope, count);
      store(dscale + i, load(dscale + i, count) + slope * normed, count);
    });
    const float g_mean = sum(g_sum) / static_cast<float>(D);
    const float projection = sum(projection_sum) / static_cast<float>(D);
    for_groups(D, [=](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA {
      const Lanes normed = (load(x + i, count) - m.mean) * m.scale;
      const Lanes g = load(dy + i, count) * (load(scale + i, count) + 1.0F);
      const Lanes slope = (g - g_mean - normed * projection) * m.scale;
      store(dx + i, more == nullptr ? slope : slope + load(more + i, count), count);
    });
    if (more != nullptr) more += D;
  }
}

GALLOP_CLONES
void multiply_elements(const float* gate, const float* y, int64_t D, float* out) {
  for (int64_t i = 0; i < D; ++i) out[i] = gate[i] * y[i];
}

GALLOP_CLONES
void add_multiplied(const float* x, const float* gate, const float* y, int64_t D, float* out) {
  // The product is rounded before it is added, as in two passes: no fused multiply-add.
  constexpr int64_t most = 256;
  float product[most];
  for (int64_t begin = 0; begin < D; begin += most) {
    const int64_t count = std::min(most, D - begin);
    for (int64_t i = 0; i < count; ++i) product[i] = gate[begin + i] * y[begin + i];
    asm volatile("" : "+m"(product));
    for (int64_t i = 0; i < count; ++i) out[begin + i] = x[begin + i] + product[i];
  }
}

GALLOP_CLONES
void multiply_elements_backward(const float* gate, const float* y, const float* dout, int64_t L,
                                int64_t D, float* dgate, float* dy) {
  std::fill(dgate, dgate + D, 0.0F);
  for (int64_t l = 0; l < L; ++l, y += D, dout += D, dy += D) {
    for_groups(D, [=](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA {
      const Lanes slope = load(dout + i, count);
      store(dgate + i, load(dgate + i, count) + slope * load(y + i, count), count);
      store(dy + i, slope * load(gate + i, count), count);
    });
  }
}

}  // namespace gallop::ops
