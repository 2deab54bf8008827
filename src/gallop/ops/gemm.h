#pragma once

#include <cstdint>
#include <vector>

#include "gallop/ops/buffer.h"

/// Single-precision matrix products of one thread, on rows given by pointers: gathered rows cost no
/// copy, and callers decide what runs in parallel. Sums go in order of the inner index, so a row of
/// a result has the same bits whatever the number of rows and of threads.
namespace gallop::ops {

/// The rows begin, begin + 1, ... of a row-major matrix, or those that `index` names.
std::vector<const float*> row_pointers(const float* matrix, int64_t width, int64_t begin,
                                       int64_t count, const int64_t* index = nullptr);

/// The right-hand matrix [K, N] of a product in the order that the register tile reads: panels of a
/// few columns, the last one padded with zeros.
class Panels {
 public:
  Panels(int64_t K, int64_t N);
  int64_t K() const { return K_; }
  int64_t N() const { return N_; }
  int64_t count() const { return count_; }
  /// The first column of panel p; N for p = count().
  int64_t column(int64_t p) const { return p * columns_ < N_ ? p * columns_ : N_; }
  const float* panel(int64_t p) const { return data_ + p * K_ * columns_; }
  /// Fills one panel from row-major b [K, N].
  void fill(int64_t p, const float* b);
  /// Fills one panel from the transpose of row-major b [N, K], such as the weight of a linear
  /// layer.
  void fill_transposed(int64_t p, const float* b);

 private:
  int64_t K_, N_, columns_, count_;
  Buffer buffer_;
  float* data_;
};

/// Rows of a block that stays in the second-level cache: what a task should take at a time.
int64_t block_rows();

/// c[r, n] = (rows[r] B)[n] for r < count and the columns n of the panels first <= p < last; `ldc`
/// is the distance of the rows of c.
void multiply(const float* const* rows, int64_t count, const Panels& b, int64_t first, int64_t last,
              float* c, int64_t ldc);

/// c[n, k] = sum over r < count of a[r][n] * b[r][k], n < N, k < K: the weight gradient. `ldc` is
/// the distance of the rows of c.
void multiply_transposed(const float* const* a, int64_t N, const float* const* b, int64_t K,
                         int64_t count, float* c, int64_t ldc);

}  // namespace gallop::ops
