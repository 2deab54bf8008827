#pragma once

#include <cstdint>
#include <cstring>

#include "gallop/ops/cpu/lanes.h"

/// The loops of a tile that stays in registers, for the kernels of any element.
///
/// Dot says what is multiplied, and how: `Element` and `Words` (a vector of them) as operands stand
/// in memory, `Number` and `Sum` (a vector of as many) of the result; `operand(Words)` is what
/// becomes of the words before they are multiplied, `add(sum, left, right)` the sum with their
/// product.
namespace gallop::ops {

/// M rows of two vectors each, out of a panel `Columns` wide: the sums, two vectors of the panel
/// and one broadcast fill the registers. See TileOf::multiply.
template <class Dot, int M, int Columns>
GALLOP_INLINE void multiply_rows(const typename Dot::Element* const* a, int64_t stride, int64_t K,
                                 const typename Dot::Element* panel, typename Dot::Number* c,
                                 int64_t ldc, bool accumulate) {
  using Sum = typename Dot::Sum;
  using Words = typename Dot::Words;
  constexpr int64_t W = sizeof(Sum) / sizeof(typename Dot::Number);
  Sum sum[M][2];
  const typename Dot::Element* row[M];
#pragma GCC unroll 16
  for (int r = 0; r < M; ++r) {
    row[r] = a[r];
    __builtin_prefetch(c + r * ldc, 1);
    sum[r][0] = sum[r][1] = Sum{};
    if (accumulate) {
      std::memcpy(&sum[r][0], c + r * ldc, sizeof(Sum));
      std::memcpy(&sum[r][1], c + r * ldc + W, sizeof(Sum));
    }
  }
  for (int64_t k = 0, at = 0; k < K; ++k, at += stride, panel += Columns) {
    Words words, more;
    std::memcpy(&words, panel, sizeof words);
    std::memcpy(&more, panel + W, sizeof more);
    const auto left = Dot::operand(words), right = Dot::operand(more);
#pragma GCC unroll 16
    for (int r = 0; r < M; ++r) {
      const auto x = Dot::operand(row[r][at] - Words{});
      sum[r][0] = Dot::add(sum[r][0], x, left);
      sum[r][1] = Dot::add(sum[r][1], x, right);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < M; ++r) {
    std::memcpy(c + r * ldc, &sum[r][0], sizeof(Sum));
    std::memcpy(c + r * ldc + W, &sum[r][1], sizeof(Sum));
  }
}

/// The same for count <= M rows.
template <class Dot, int M, int Columns>
GALLOP_INLINE void multiply_up_to(int count, const typename Dot::Element* const* a, int64_t stride,
                                  int64_t K, const typename Dot::Element* panel,
                                  typename Dot::Number* c, int64_t ldc, bool accumulate) {
  if (count == M) return multiply_rows<Dot, M, Columns>(a, stride, K, panel, c, ldc, accumulate);
  if constexpr (M > 1) {
    multiply_up_to<Dot, M - 1, Columns>(count, a, stride, K, panel, c, ldc, accumulate);
  }
}

}  // namespace gallop::ops
