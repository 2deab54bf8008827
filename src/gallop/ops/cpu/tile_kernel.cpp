#include "gallop/ops/cpu/register_tile.h"
#include "gallop/ops/cpu/tile.h"

namespace gallop::ops {

namespace {

template <int W>
struct Floats {
  using Element = float;
  using Number = float;
  typedef float Sum __attribute__((vector_size(W * sizeof(float))));
  using Words = Sum;
  GALLOP_INLINE static Sum operand(Sum x) { return x; }
  GALLOP_INLINE static Sum add(Sum sum, Sum x, Sum y) { return sum + x * y; }
};

void multiply_baseline(int count, const float* const* a, int64_t stride, int64_t K,
                       const float* panel, float* c, int64_t ldc, bool accumulate) {
  multiply_up_to<Floats<4>, 4, 8>(count, a, stride, K, panel, c, ldc, accumulate);
}

#ifdef __x86_64__
[[gnu::target("arch=x86-64-v3")]] void multiply_v3(int count, const float* const* a, int64_t stride,
                                                   int64_t K, const float* panel, float* c,
                                                   int64_t ldc, bool accumulate) {
  multiply_up_to<Floats<8>, 6, 16>(count, a, stride, K, panel, c, ldc, accumulate);
}
[[gnu::target("arch=x86-64-v4")]] void multiply_v4(int count, const float* const* a, int64_t stride,
                                                   int64_t K, const float* panel, float* c,
                                                   int64_t ldc, bool accumulate) {
  multiply_up_to<Floats<16>, 8, 32>(count, a, stride, K, panel, c, ldc, accumulate);
}
#endif

Tile choose() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("x86-64-v4")) return {8, 32, multiply_v4};
  if (__builtin_cpu_supports("x86-64-v3")) return {6, 16, multiply_v3};
#endif
  return {4, 8, multiply_baseline};
}

}  // namespace

const Tile& tile() {
  static const Tile chosen = choose();
  return chosen;
}

}  // namespace gallop::ops
