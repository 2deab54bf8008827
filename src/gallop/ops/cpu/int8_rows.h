#pragma once

#include <cstdint>

#include "gallop/ops/cpu/int8_tile.h"

/// The two ends of an 8-bit product, row by row.
namespace gallop::ops {

/// Numbers -127..127 and what they are multiples of, symmetric about zero.
constexpr float most_int8 = 127;
/// A row whose largest number is below this (1.5e-36) counts as zeros: its scale would be no normal
/// number.
constexpr float least_int8 = 0x1p-119F;

/// Words that a row of K numbers takes in memory; at least layout.words(K).
int64_t row_words(const Int8Layout& layout, int64_t K);

/// Writes round(x / scale), ties to even, plus `offset` to the words of a row and returns the
/// scale: its largest magnitude / 127. A row with an infinity or a NaN has the scale NaN.
float quantize_row(const float* x, int64_t K, const Int8Layout& layout, int offset, int32_t* words);

/// What turns exact sums into results, by column.
struct Int8Finish {
  const float* scale;
  const int32_t* shift;  ///< taken off the sums: what the offset of the left-hand side added
  const float* bias;     ///< may be null
  bool gelu;             ///< gelu_tanh of the result
};

/// y = gelu((sums - shift) * scale * row_scale[r] + bias); the rows of sums and y are ld_sums and
/// ld_y apart.
void finish_rows(const int32_t* sums, int64_t ld_sums, int64_t rows, int64_t width,
                 const float* row_scale, const Int8Finish& finish, float* y, int64_t ld_y);

}  // namespace gallop::ops
