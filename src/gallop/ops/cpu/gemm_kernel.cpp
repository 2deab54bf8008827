#include <algorithm>
#include <cstring>

#include "gallop/ops/cpu/bf16_gemm.h"
#include "gallop/ops/cpu/gemm.h"
#include "gallop/ops/cpu/lanes.h"
#include "gallop/ops/cpu/tiling.h"
#include "gallop/ops/cpu/transpose.h"

namespace gallop::ops {

namespace {

constexpr int64_t rows_ahead = 3, floats_of_a_line = 16;

// Cuts `count` rows of `size` floats into strips: strip by strip, in each row by row.
void cut_strips(const float* const* rows, int64_t count, int64_t size, int64_t width,
                float* strips) {
  with_width(width, [=](auto width) {
    for (int64_t r = 0; r < count; ++r) {
      // Rows may lie anywhere: the processor cannot guess the next ones.
      const float* soon = rows[std::min(r + rows_ahead, count - 1)];
      for (int64_t i = 0; i < size; i += floats_of_a_line) __builtin_prefetch(soon + i);
      cut_row<width.value>(rows[r], size, strips + r * width.value, count * width.value);
    }
  });
}

GALLOP_CLONES
void transpose(const float* from, int64_t ld, int64_t rows, int64_t K, float* to, int64_t ld_to) {
  transpose_rows<Lanes>(from, ld, rows, K, to, ld_to);
}

// Rows of `Width` numbers, `ld` apart, one behind the other.
template <int64_t Width>
void gather_of(const float* from, int64_t ld, int64_t rows, float* to) {
  for (int64_t r = 0; r < rows; ++r, from += ld, to += Width) {
    std::memcpy(to, from, Width * sizeof(float));
  }
}

}  // namespace

std::vector<const float*> row_pointers(const float* matrix, int64_t width, int64_t begin,
                                       int64_t count, const int64_t* index) {
  std::vector<const float*> rows(count);
  for (int64_t r = 0; r < count; ++r) {
    rows[r] = matrix + (index == nullptr ? begin + r : index[begin + r]) * width;
  }
  return rows;
}

int64_t panel_columns(const Bf16Tile* bf16) {
  return bf16 == nullptr ? tile().columns : bf16->columns;
}

void Panels::reshape(int64_t K, int64_t N, const Bf16Tile* bf16) {
  K_ = K;
  N_ = N;
  bf16_ = bf16;
  columns_ = panel_columns(bf16);
  count_ = (N + columns_ - 1) / columns_;
  if (bf16 == nullptr) {
    data_ = buffer_.at_least(count_ * K * columns_);
  } else {
    pairs_ = pair_buffer_.at_least(count_ * pairs_of(K) * columns_);
  }
}

void Panels::fill(int64_t p, const float* b, int64_t ld) {
  const int64_t width = column(p + 1) - column(p);
  b += column(p);
  if (bf16_ != nullptr) {
    return fill_bf16_panel(b, ld, K_, width, pairs_ + p * pairs_of(K_) * columns_, columns_);
  }
  float* to = data_ + p * K_ * columns_;
  if (width == 8 && columns_ == 8) return gather_of<8>(b, ld, K_, to);
  if (width == 16 && columns_ == 16) return gather_of<16>(b, ld, K_, to);
  if (width == 32 && columns_ == 32) return gather_of<32>(b, ld, K_, to);
  for (int64_t k = 0; k < K_; ++k, to += columns_, b += ld) {
    std::fill(std::copy(b, b + width, to), to + columns_, 0.0F);
  }
}

void Panels::fill_transposed(int64_t p, const float* b, int64_t ld) {
  const int64_t width = column(p + 1) - column(p);
  b += column(p) * ld;
  if (bf16_ != nullptr) {
    return fill_bf16_panel_transposed(b, ld, width, K_, pairs_ + p * pairs_of(K_) * columns_,
                                      columns_);
  }
  transpose(b, ld, width, K_, data_ + p * K_ * columns_, columns_);
}

int64_t block_rows() { return 16 * tile().rows; }

void multiply(const Rows& a, const Panels& b, int64_t first, int64_t last, float* c, int64_t ldc,
              bool whole_panels) {
  const int64_t end = whole_panels && last == b.count() ? b.padded_N() : b.column(last);
  if (b.K() == 0) {
    for (int64_t r = 0; r < a.count; ++r) {
      std::fill(c + r * ldc + b.column(first), c + r * ldc + end, 0.0F);
    }
  } else if (b.bf16() != nullptr) {
    multiply_bf16(*b.bf16(), a, {b.pairs(), pairs_of(b.K())}, b.K(), first, last, end, c, ldc);
  } else {
    multiply_panels(tile(), a, {b.panel(0), b.K()}, first, last, end, c, ldc);
  }
}

void multiply_transposed(const float* const* a, int64_t N, const float* const* b, int64_t K,
                         int64_t count, float* c, int64_t ldc, const Bf16Tile* bf16) {
  if (count == 0) {
    for (int64_t n = 0; n < N; ++n) std::fill(c + n * ldc, c + n * ldc + K, 0.0F);
    return;
  }
  if (bf16 != nullptr) return multiply_transposed_bf16(*bf16, a, N, b, K, count, c, ldc);
  const Tile& t = tile();
  static thread_local Buffer a_buffer, b_buffer;
  // Odd, so that strips of one row do not fall into the same cache set.
  const int64_t depth = part(count, rows_at_a_time) | 1;
  const int64_t groups = (N + t.rows - 1) / t.rows, panels = (K + t.columns - 1) / t.columns;
  float* a_packed = a_buffer.at_least(groups * depth * t.rows);
  float* b_packed = b_buffer.at_least(panels * depth * t.columns);
  for (int64_t r = 0; r < count; r += depth) {
    const int64_t R = std::min(depth, count - r);
    cut_strips(a + r, R, N, t.rows, a_packed);
    cut_strips(b + r, R, K, t.columns, b_packed);
    multiply_strips(t, a_packed, N, b_packed, K, R, c, ldc, r > 0);
  }
}

}  // namespace gallop::ops
