#include "gallop/ops/cpu/softmax.h"

#include "gallop/ops/cpu/lanes.h"

namespace gallop::ops {

GALLOP_CLONES
void softmax_numerators(float* s, int64_t ld, int64_t rows, int64_t L, float scale,
                        float* inverse) {
  for (int64_t r = 0; r < rows; ++r, s += ld) {
    const Lanes most = reduce_groups(
        L, lanes(s[0]),
        [=](int64_t i, int64_t count)
            GALLOP_INLINE_LAMBDA { return first(load(s + i), count, lanes(s[0])); },
        [](Lanes a, Lanes b) GALLOP_INLINE_LAMBDA { return a < b ? b : a; });
    float top = most[0];
    for (int64_t i = 1; i < lane_count; ++i) top = top < most[i] ? most[i] : top;

    const Lanes total = sum_groups(L, [=](int64_t i, int64_t count) GALLOP_INLINE_LAMBDA {
      const Lanes e = first(exp((load(s + i) - top) * scale), count);
      store(s + i, e);
      return e;
    });
    inverse[r] = 1.0F / sum(total);
  }
}

GALLOP_CLONES
void scale_rows(float* x, int64_t ld, int64_t rows, int64_t width, const float* factor) {
  for (int64_t r = 0; r < rows; ++r, x += ld) {
    for (int64_t i = 0; i < width; ++i) x[i] *= factor[r];
  }
}

GALLOP_CLONES
void softmax_backward(const float* p, float* dp, int64_t ld, int64_t rows, int64_t L, float scale) {
  for (int64_t r = 0; r < rows; ++r, p += ld, dp += ld) {
    const Lanes total = sum_groups(
        L, [=](int64_t i, int64_t) GALLOP_INLINE_LAMBDA { return load(p + i) * load(dp + i); });
    const float shift = sum(total);
    for (int64_t i = 0; i < L; i += lane_count) {
      store(dp + i, load(p + i) * (load(dp + i) - shift) * scale);
    }
  }
}

}  // namespace gallop::ops
