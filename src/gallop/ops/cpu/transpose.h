#pragma once

#include <cstdint>

#include "gallop/ops/cpu/lanes.h"

/// Transposing elements of 32 bits, for the kernels.
namespace gallop::ops {

template <class V, class Element>
GALLOP_INLINE V load_eight(const Element* from) {
  V x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

/// Transposes eight rows of eight elements; only `rows` of them are there, the others are zero.
template <class V, class Element>
GALLOP_INLINE void transpose_square(const Element* from, int64_t ld, int64_t rows, Element* to,
                                    int64_t ld_to) {
  const auto put = [&](int64_t i, V row) { std::memcpy(to + i * ld_to, &row, sizeof row); };
  V x[8], y[8];
  for (int i = 0; i < 8; ++i) x[i] = i < rows ? load_eight<V>(from + i * ld) : V{};
  for (int i = 0; i < 8; i += 2) {
    y[i] = __builtin_shufflevector(x[i], x[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    y[i + 1] = __builtin_shufflevector(x[i], x[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      x[i + 2 * j] = __builtin_shufflevector(y[i + j], y[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      x[i + 2 * j + 1] =
          __builtin_shufflevector(y[i + j], y[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    put(i, __builtin_shufflevector(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    put(i + 4, __builtin_shufflevector(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

/// to[k][n] = from[n][k] for n < rows, zero for rows <= n < ld_to, which is a multiple of 8. V is
/// eight elements.
template <class V, class Element>
GALLOP_INLINE void transpose_rows(const Element* from, int64_t ld, int64_t rows, int64_t K,
                                  Element* to, int64_t ld_to) {
  const int64_t square_K = K / lane_count * lane_count;
  for (int64_t n = 0; n < ld_to; n += lane_count) {
    for (int64_t k = 0; k < square_K; k += lane_count) {
      transpose_square<V>(from + n * ld + k, ld, rows - n, to + k * ld_to + n, ld_to);
    }
  }
  for (int64_t k = square_K; k < K; ++k) {
    for (int64_t n = 0; n < ld_to; ++n) to[k * ld_to + n] = n < rows ? from[n * ld + k] : Element{};
  }
}

}  // namespace gallop::ops
