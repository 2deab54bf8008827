#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gallop::ops {

/// How the 8-bit numbers of a product stand in memory. `together` consecutive inner numbers fill a
/// 32-bit word: two of 16 bits, or four of 8, of which the left-hand ones are unsigned (number +
/// 128), as the instructions for each want them.
struct Int8Layout {
  int together = 2;
  /// What is added to the numbers of the left-hand side.
  int offset() const { return together == 4 ? 128 : 0; }
  /// Words of K numbers; the right-hand ones that fill the last word are zero.
  int64_t words(int64_t K) const { return (K + together - 1) / together; }
};

/// The innermost integer product: a tile that stays in registers, one for each kind of instruction.
struct Int8Tile {
  static constexpr int most_rows = 16, most_columns = 32;  ///< of any tile
  std::string name;
  Int8Layout layout;
  int rows;     ///< most rows of one call
  int columns;  ///< width of a panel
  /// c[r * columns + j] = sum over k < words and the numbers i of a word of a[r][k][i] * panel[k *
  /// columns + j][i] for r < count <= rows and j < columns, modulo 2^32.
  void (*multiply)(int count, const int32_t* const* a, int64_t words, const int32_t* panel,
                   int32_t* c);
};

/// The fastest that this processor has.
const Int8Tile& int8_tile();
/// All that this processor can run; some in other layouts or without their instruction, so that
/// tests reach every layout on every machine.
const std::vector<Int8Tile>& int8_tiles();

}  // namespace gallop::ops
