#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "gallop/ops/cpu/gemm.h"

namespace gallop::ops {

/// Rows offsets[g] .. offsets[g+1]-1 make group g: it is cut into blocks of nearly equal length, at
/// most block_rows().
struct RowBlock {
  int64_t group, begin, count;
};
std::vector<RowBlock> row_blocks(std::span<const int64_t> offsets);

/// Whether the right-hand matrices of a product are the weights as they stand, [K, N], or their
/// transposes: weights [N, K], as linear layers have them.
enum class Side { as_it_stands, transposed };

/// All panels of a contiguous weight, or of each of a group of weights.
std::vector<Panels> cut(const at::Tensor& weight, Side side, const Bf16Tile* bf16);

/// The right-hand matrices of products with blocks of rows, one for each group. A matrix that
/// several blocks read is cut into panels before; one that a single block reads, where it is
/// multiplied, a few panels at a time, which stay in the cache; one that none reads, never. No bit
/// depends on it.
class RightMatrices {
 public:
  /// Of a contiguous weight, or of a group of them [groups, ...]. It must outlive this. Transposed
  /// ones come from the PackedGuard of this thread if it has them.
  RightMatrices(const at::Tensor& weight, Side side, std::span<const RowBlock> blocks,
                const Bf16Tile* bf16);
  ~RightMatrices();
  RightMatrices(const RightMatrices&) = delete;
  RightMatrices& operator=(const RightMatrices&) = delete;

  int64_t K() const { return K_; }
  int64_t N() const { return N_; }
  /// Panels of a matrix; the first column of panel p, N for p = panels().
  int64_t panels() const { return (N_ + columns_ - 1) / columns_; }
  int64_t column(int64_t p) const { return p * columns_ < N_ ? p * columns_ : N_; }
  /// c = rows times the matrix of a group, for the columns of the panels first <= p < last; the
  /// rows of c are `ldc` apart.
  void multiply(std::span<const float* const> rows, int64_t group, int64_t first, int64_t last,
                float* c, int64_t ldc) const;
  void multiply(std::span<const float* const> rows, int64_t group, float* c) const {
    multiply(rows, group, 0, panels(), c, N_);
  }

 private:
  const float* weight_;
  Side side_;
  int64_t K_, N_, columns_;
  const Bf16Tile* bf16_;
  std::vector<Panels> own_;  // of size 0 where they are not cut before
  std::span<const Panels> panels_;
};

}  // namespace gallop::ops
