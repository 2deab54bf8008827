#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "gallop/ops/cpu/lanes.h"
#include "gallop/ops/cpu/tile.h"

/// What lies around a tile, for the kernels of any element: whole products out of panels and out of
/// strips.
namespace gallop::ops {

/// Depth of a panel that stays in the first-level cache beside the rows of a tile, in elements.
constexpr int64_t most_depth = 320;
/// Rows that a weight gradient packs at a time, in elements of the tile.
constexpr int64_t rows_at_a_time = 192;

/// The size of equal parts, none above `most`.
inline int64_t part(int64_t size, int64_t most) {
  const int64_t parts = (size + most - 1) / most;
  return parts == 0 ? 1 : (size + parts - 1) / parts;
}

/// One tile of which only `columns` are wanted: the last panel of a matrix is wider than the
/// matrix.
template <class Element>
[[gnu::noinline]] void multiply_part(const TileOf<Element>& t, int count, const Element* const* a,
                                     int64_t stride, int64_t K, const Element* panel, float* c,
                                     int64_t ldc, int64_t columns, bool accumulate) {
  std::array<float, TileOf<Element>::most_rows * TileOf<Element>::most_columns> whole{};
  const auto bytes = static_cast<size_t>(columns) * sizeof(float);
  if (accumulate) {
    for (int r = 0; r < count; ++r) std::memcpy(&whole[r * t.columns], c + r * ldc, bytes);
  }
  t.multiply(count, a, stride, K, panel, whole.data(), t.columns, accumulate);
  for (int r = 0; r < count; ++r) std::memcpy(c + r * ldc, &whole[r * t.columns], bytes);
}

/// One tile, all columns or `columns` of it.
template <class Element>
GALLOP_INLINE void multiply_tile(const TileOf<Element>& t, int count, const Element* const* a,
                                 int64_t stride, int64_t K, const Element* panel, float* c,
                                 int64_t ldc, int64_t columns, bool accumulate) {
  if (columns == t.columns) return t.multiply(count, a, stride, K, panel, c, ldc, accumulate);
  multiply_part(t, count, a, stride, K, panel, c, ldc, columns, accumulate);
}

/// c = A B for the panels first <= p < last of B, without the columns of c from `end` on.
template <class Element>
void multiply_panels(const TileOf<Element>& t, const RowsOf<Element>& a, const PanelsOf<Element>& b,
                     int64_t first, int64_t last, int64_t end, float* c, int64_t ldc) {
  const int64_t depth = part(b.K, most_depth), tiles = (a.count + t.rows - 1) / t.rows;
  std::array<const Element*, TileOf<Element>::most_rows> rows;
  for (int64_t k = 0; k < b.K; k += depth) {
    const int64_t K = std::min(depth, b.K - k);
    for (int64_t p = first; p < last; ++p) {
      const int64_t n = p * t.columns, width = std::min<int64_t>(t.columns, end - n);
      // Tiles of nearly equal height: one row alone would cost almost as much as six.
      for (int64_t i = 0, r = 0; i < tiles; ++i) {
        const auto height = static_cast<int>((a.count - r + tiles - i - 1) / (tiles - i));
        for (int j = 0; j < height; ++j) rows[j] = a.row[r + j] + k * a.stride;
        multiply_tile(t, height, rows.data(), a.stride, K, b.data + (p * b.K + k) * t.columns,
                      c + r * ldc + n, ldc, width, k > 0);
        r += height;
      }
    }
  }
}

/// Cuts a row of `size` elements into strips `Width` wide, `step` elements apart, the last one
/// padded with zeros.
template <int64_t Width, class Element>
void cut_row(const Element* row, int64_t size, Element* to, int64_t step) {
  const int64_t whole = size / Width * Width;
  for (int64_t i = 0; i < whole; i += Width, to += step) {
    std::memcpy(to, row + i, Width * sizeof(Element));
  }
  if (whole == size) return;
  std::fill(std::copy(row + whole, row + size, to), to + Width, Element{});
}

/// Calls cut(std::integral_constant) for the width of a strip: rows or columns of a tile.
template <class Cut>
void with_width(int64_t width, const Cut& cut) {
  switch (width) {
    case 4:
      return cut(std::integral_constant<int64_t, 4>());
    case 6:
      return cut(std::integral_constant<int64_t, 6>());
    case 8:
      return cut(std::integral_constant<int64_t, 8>());
    case 16:
      return cut(std::integral_constant<int64_t, 16>());
    case 32:
      return cut(std::integral_constant<int64_t, 32>());
  }
}

/// c (+)= A^T B for R rows of A and B cut into strips, a tile's rows wide for A, its columns for B.
template <class Element>
void multiply_strips(const TileOf<Element>& t, const Element* a, int64_t N, const Element* b,
                     int64_t K, int64_t R, float* c, int64_t ldc, bool accumulate) {
  std::array<const Element*, TileOf<Element>::most_rows> rows;
  for (int64_t k = 0; k < K; k += t.columns) {
    for (int64_t n = 0; n < N; n += t.rows) {
      const int height = static_cast<int>(std::min<int64_t>(t.rows, N - n));
      for (int i = 0; i < height; ++i) rows[i] = a + n * R + i;
      multiply_tile(t, height, rows.data(), t.rows, R, b + k * R, c + n * ldc + k, ldc,
                    std::min<int64_t>(t.columns, K - k), accumulate);
    }
  }
}

}  // namespace gallop::ops
