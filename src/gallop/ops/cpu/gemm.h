#pragma once

#include <cstdint>
#include <vector>

#include "gallop/ops/cpu/bf16_tile.h"
#include "gallop/ops/cpu/buffer.h"
#include "gallop/ops/cpu/tile.h"

/// Matrix products of one thread in single precision, on rows given by pointers: gathered rows cost
/// no copy, and callers decide what runs in parallel. Sums go in order of the inner index, so a row
/// of a result has the same bits whatever the number of rows and of threads. With a Bf16Tile both
/// operands are rounded to bf16 on the way (to the nearest, ties to even; NaN stays NaN).
namespace gallop::ops {

/// The rows begin, begin + 1, ... of a row-major matrix, or those that `index` names.
std::vector<const float*> row_pointers(const float* matrix, int64_t width, int64_t begin,
                                       int64_t count, const int64_t* index = nullptr);

/// The width of a panel: of the tile of this processor, or of one of bf16.
int64_t panel_columns(const Bf16Tile* bf16);

/// The right-hand matrix [K, N] of a product in the order that the register tile reads: panels of a
/// few columns, the last one padded with zeros; in float32, or in bf16 for a tile of it.
class Panels {
 public:
  Panels() = default;
  Panels(int64_t K, int64_t N, const Bf16Tile* bf16 = nullptr) { reshape(K, N, bf16); }
  /// Another size; the memory stays if it is enough, the panels must be filled again.
  void reshape(int64_t K, int64_t N, const Bf16Tile* bf16 = nullptr);
  int64_t K() const { return K_; }
  int64_t N() const { return N_; }
  int64_t count() const { return count_; }
  /// The first column of panel p; N for p = count().
  int64_t column(int64_t p) const { return p * columns_ < N_ ? p * columns_ : N_; }
  /// N with the zeros that fill the last panel.
  int64_t padded_N() const { return count_ * columns_; }
  /// The tile that reads them; null: float32.
  const Bf16Tile* bf16() const { return bf16_; }
  const float* panel(int64_t p) const { return data_ + p * K_ * columns_; }
  /// All panels in bf16: [count][pairs of K][columns].
  const Bf16Pair* pairs() const { return pairs_; }
  /// Fills panel p from b [K, N], whose rows are `ld` apart.
  void fill(int64_t p, const float* b, int64_t ld);
  /// Fills panel p from the transpose of b [N, K], such as the weight of a linear layer.
  void fill_transposed(int64_t p, const float* b, int64_t ld);

 private:
  int64_t K_ = 0, N_ = 0, columns_ = 0, count_ = 0;
  const Bf16Tile* bf16_ = nullptr;
  Buffer buffer_;
  float* data_ = nullptr;
  BufferOf<Bf16Pair> pair_buffer_;
  Bf16Pair* pairs_ = nullptr;
};

/// Rows of a block that stays in the second-level cache: what a task should take at a time.
int64_t block_rows();

/// The left-hand matrix [count, K] of a product; the stride must be 1 for panels in bf16.
using Rows = RowsOf<float>;

/// c = A B for the columns of the panels first <= p < last; the rows of c are `ldc` apart. With
/// `whole_panels` a last panel that is wider than B is written whole: its rest is zero.
void multiply(const Rows& a, const Panels& b, int64_t first, int64_t last, float* c, int64_t ldc,
              bool whole_panels = false);

/// c[n, k] = sum over r < count of a[r][n] * b[r][k], n < N, k < K: the weight gradient. `ldc` is
/// the distance of the rows of c.
void multiply_transposed(const float* const* a, int64_t N, const float* const* b, int64_t K,
                         int64_t count, float* c, int64_t ldc, const Bf16Tile* bf16 = nullptr);

}  // namespace gallop::ops
