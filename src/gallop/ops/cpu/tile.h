#pragma once

#include <cstdint>

namespace gallop::ops {

/// The innermost matrix product: a tile that stays in registers, compiled for several instruction
/// sets. An element of its operands is a number, or a few that are multiplied and added in one
/// step.
template <class Element>
struct TileOf {
  static constexpr int most_rows = 16, most_columns = 32;  ///< of any tile
  int rows;                                                ///< most rows of one call
  int columns;                                             ///< width of a panel
  /// c[r * ldc + j] = sum over k < K of a[r][k * stride] * panel[k * columns + j] for r < count <=
  /// rows and all j < columns. A sum begins with c if `accumulate`, else with 0, and goes in order
  /// of k: the bits of a row depend on that row and the panel alone.
  void (*multiply)(int count, const Element* const* a, int64_t stride, int64_t K,
                   const Element* panel, float* c, int64_t ldc, bool accumulate);
};
using Tile = TileOf<float>;

/// The left-hand side of a product: element (r, k) is row[r][k * stride].
template <class Element>
struct RowsOf {
  const Element* const* row;
  int64_t count;
  int64_t stride = 1;
};

/// The panels of the right-hand side, each of K rows of a tile's columns.
template <class Element>
struct PanelsOf {
  const Element* data;
  int64_t K;
};

/// The widest that this processor has.
const Tile& tile();

}  // namespace gallop::ops
