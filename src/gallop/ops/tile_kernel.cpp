#include <cstring>

#include "gallop/ops/lanes.h"
#include "gallop/ops/tile.h"

namespace gallop::ops {

namespace {

template <int W>
struct VectorOf {
  typedef float type __attribute__((vector_size(W * sizeof(float))));
};

// M rows of two vectors each: the sums, two vectors of the panel and one broadcast fill the
// registers.
template <int W, int M>
GALLOP_INLINE void multiply_rows(const float* const* a, int64_t stride, int64_t K,
                                 const float* panel, float* c, int64_t ldc, bool accumulate) {
  using Vector = typename VectorOf<W>::type;
  Vector sum[M][2];
  const float* row[M];
#pragma GCC unroll 16
  for (int r = 0; r < M; ++r) {
    row[r] = a[r];
    __builtin_prefetch(c + r * ldc, 1);
    sum[r][0] = sum[r][1] = Vector{};
    if (accumulate) {
      std::memcpy(&sum[r][0], c + r * ldc, sizeof(Vector));
      std::memcpy(&sum[r][1], c + r * ldc + W, sizeof(Vector));
    }
  }
  for (int64_t k = 0, at = 0; k < K; ++k, at += stride, panel += 2 * W) {
    Vector left, right;
    std::memcpy(&left, panel, sizeof left);
    std::memcpy(&right, panel + W, sizeof right);
#pragma GCC unroll 16
    for (int r = 0; r < M; ++r) {
      const Vector x = row[r][at] - Vector{};
      sum[r][0] += x * left;
      sum[r][1] += x * right;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < M; ++r) {
    std::memcpy(c + r * ldc, &sum[r][0], sizeof(Vector));
    std::memcpy(c + r * ldc + W, &sum[r][1], sizeof(Vector));
  }
}

template <int W, int M>
GALLOP_INLINE void multiply(int count, const float* const* a, int64_t stride, int64_t K,
                            const float* panel, float* c, int64_t ldc, bool accumulate) {
  if (count == M) return multiply_rows<W, M>(a, stride, K, panel, c, ldc, accumulate);
  if constexpr (M > 1) multiply<W, M - 1>(count, a, stride, K, panel, c, ldc, accumulate);
}

void multiply_baseline(int count, const float* const* a, int64_t stride, int64_t K,
                       const float* panel, float* c, int64_t ldc, bool accumulate) {
  multiply<4, 4>(count, a, stride, K, panel, c, ldc, accumulate);
}

#ifdef __x86_64__
[[gnu::target("arch=x86-64-v3")]] void multiply_v3(int count, const float* const* a, int64_t stride,
                                                   int64_t K, const float* panel, float* c,
                                                   int64_t ldc, bool accumulate) {
  multiply<8, 6>(count, a, stride, K, panel, c, ldc, accumulate);
}
[[gnu::target("arch=x86-64-v4")]] void multiply_v4(int count, const float* const* a, int64_t stride,
                                                   int64_t K, const float* panel, float* c,
                                                   int64_t ldc, bool accumulate) {
  multiply<16, 8>(count, a, stride, K, panel, c, ldc, accumulate);
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
