#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/cpu/right_matrices.h"

/// The parts of matrix products that all threads share. How work is cut depends on sizes alone, so
/// results do not depend on the number of threads.
namespace gallop::ops {

/// How the panels of a product are shared among the tasks of a block of rows: few blocks are cut by
/// columns as well.
inline Parts column_parts(int64_t blocks, int64_t panels) {
  return {panels, blocks < 16 ? 4 : panels};
}

/// c[r] = rows[r] B[g] for the rows of all blocks, g their group; c has N columns. After each part
/// of it `finish(block, n, width)` is called, on the same thread, for its columns n .. n + width.
template <class Finish>
void multiply_blocks(std::span<const float* const> rows, std::span<const RowBlock> blocks,
                     const RightMatrices& b, float* c, const Finish& finish) {
  const auto count = static_cast<int64_t>(blocks.size());
  const Parts parts = column_parts(count, b.panels());
  const int64_t work = static_cast<int64_t>(rows.size()) * b.K() * b.N();
  parallel_each(count * parts.count(), work, [&](int64_t task) {
    const RowBlock& block = blocks[task / parts.count()];
    const int64_t first = parts.begin(task % parts.count());
    const int64_t last = first + parts.length(task % parts.count());
    b.multiply(rows.subspan(block.begin, block.count), block.group, first, last,
               c + block.begin * b.N(), b.N());
    finish(block, b.column(first), b.column(last) - b.column(first));
  });
}

/// c[g] = sum over the rows r of group g of a[r]^T b[r], c [groups, N, K]: weight gradients. a[r]
/// has N numbers, b[r] K; both are rounded for a tile of bf16.
void weight_gradients(std::span<const float* const> a, int64_t N, std::span<const float* const> b,
                      int64_t K, std::span<const int64_t> offsets, float* c,
                      const Bf16Tile* bf16 = nullptr);

/// sums[g] = sum in order of parts[i] over the blocks i of group g; parts [blocks, width], sums
/// [groups, width].
void sum_blocks(const float* parts, std::span<const RowBlock> blocks, int64_t width, int64_t groups,
                float* sums);

}  // namespace gallop::ops
