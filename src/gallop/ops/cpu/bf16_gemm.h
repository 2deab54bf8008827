#pragma once

#include "gallop/ops/cpu/bf16_tile.h"

/// What gemm.h does for operands in bf16: rounding while packing, then the loops of tiling.h. Sums
/// go over pairs of neighbours of the inner index in their order; zeros fill the last pair.
namespace gallop::ops {

/// Pairs of a sum over K.
constexpr int64_t pairs_of(int64_t K) { return (K + 1) / 2; }

/// A panel [pairs of K][columns] from b [K, width], width <= columns, whose rows are `ld` apart.
void fill_bf16_panel(const float* b, int64_t ld, int64_t K, int64_t width, Bf16Pair* panel,
                     int64_t columns);
/// The same from the transpose of b [width, K].
void fill_bf16_panel_transposed(const float* b, int64_t ld, int64_t width, int64_t K,
                                Bf16Pair* panel, int64_t columns);

/// See multiply_panels; `a` holds K floats a row, of stride 1 (else Error).
void multiply_bf16(const Bf16Tile& t, const RowsOf<float>& a, const PanelsOf<Bf16Pair>& b,
                   int64_t K, int64_t first, int64_t last, int64_t end, float* c, int64_t ldc);

/// See multiply_transposed: pairs are neighbours among the `count` rows, of which there are some.
void multiply_transposed_bf16(const Bf16Tile& t, const float* const* a, int64_t N,
                              const float* const* b, int64_t K, int64_t count, float* c,
                              int64_t ldc);

}  // namespace gallop::ops
