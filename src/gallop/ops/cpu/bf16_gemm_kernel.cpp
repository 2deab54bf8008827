#include <algorithm>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/bf16_gemm.h"
#include "gallop/ops/cpu/buffer.h"
#include "gallop/ops/cpu/lanes.h"
#include "gallop/ops/cpu/tiling.h"
#include "gallop/ops/cpu/transpose.h"

namespace gallop::ops {

namespace {

typedef uint32_t WordLanes __attribute__((vector_size(32)));
typedef uint16_t HalfLanes __attribute__((vector_size(16)));

// To bf16 in the upper halves of the words. A NaN keeps its sign and becomes a quiet one: rounding
// could carry it over to infinity.
GALLOP_INLINE WordLanes rounded(Lanes x) {
  const auto bits = reinterpret_cast<WordLanes>(x);
  const WordLanes nearest = bits + 0x7FFF + ((bits >> 16) & 1);
  const auto magnitude = reinterpret_cast<IntLanes>(bits & 0x7FFFFFFFU);
  return (magnitude > 0x7F800000 ? bits | 0x00400000U : nearest) & 0xFFFF0000U;
}

// Numbers of a row as pairs with a rest of zeros: pairs of the row are neighbours in memory.
constexpr int64_t row_pairs(int64_t K) { return (K + lane_count - 1) / lane_count * 4; }
GALLOP_CLONES
void round_row(const float* row, int64_t K, Bf16Pair* to) {
  for (int64_t k = 0; k < K; k += lane_count, to += lane_count / 2) {
    const WordLanes words = rounded(load(row + k, group(k, K)));
    const HalfLanes halves = __builtin_convertvector(words >> 16, HalfLanes);
    std::memcpy(to, &halves, sizeof halves);
  }
}

// Pairs out of two rows of `size` numbers, the second one zeros if it is null; zeros behind them
// fill `to` up to a multiple of eight.
GALLOP_CLONES
void round_rows(const float* first, const float* second, int64_t size, Bf16Pair* to) {
  for (int64_t i = 0; i < size; i += lane_count) {
    const int64_t count = group(i, size);
    WordLanes pairs = rounded(load(first + i, count)) >> 16;
    if (second != nullptr) pairs |= rounded(load(second + i, count));
    std::memcpy(to + i, &pairs, sizeof pairs);
  }
}

GALLOP_CLONES
void transpose(const Bf16Pair* from, int64_t ld, int64_t rows, int64_t K, Bf16Pair* to,
               int64_t ld_to) {
  transpose_rows<WordLanes>(from, ld, rows, K, to, ld_to);
}

// Cuts `count` rows of `size` numbers, two at a time, into strips of pairs.
void cut_strips(const float* const* rows, int64_t count, int64_t size, int64_t width,
                Bf16Pair* strips) {
  static thread_local BufferOf<Bf16Pair> line_buffer;
  Bf16Pair* line = line_buffer.at_least(size + lane_count);
  const int64_t pairs = pairs_of(count);
  with_width(width, [=](auto width) {
    for (int64_t r = 0; r < pairs; ++r) {
      round_rows(rows[2 * r], 2 * r + 1 < count ? rows[2 * r + 1] : nullptr, size, line);
      cut_row<width.value>(line, size, strips + r * width.value, pairs * width.value);
    }
  });
}

}  // namespace

void fill_bf16_panel(const float* b, int64_t ld, int64_t K, int64_t width, Bf16Pair* panel,
                     int64_t columns) {
  for (int64_t k = 0; k < K; k += 2, panel += columns) {
    round_rows(b + k * ld, k + 1 < K ? b + (k + 1) * ld : nullptr, width, panel);
    const int64_t filled = (width + lane_count - 1) / lane_count * lane_count;
    std::fill(panel + filled, panel + columns, 0U);
  }
}

void fill_bf16_panel_transposed(const float* b, int64_t ld, int64_t width, int64_t K,
                                Bf16Pair* panel, int64_t columns) {
  static thread_local BufferOf<Bf16Pair> buffer;
  const int64_t stride = row_pairs(K);
  Bf16Pair* rows = buffer.at_least(width * stride);
  for (int64_t n = 0; n < width; ++n) round_row(b + n * ld, K, rows + n * stride);
  transpose(rows, stride, width, pairs_of(K), panel, columns);
}

void multiply_bf16(const Bf16Tile& t, const RowsOf<float>& a, const PanelsOf<Bf16Pair>& b,
                   int64_t K, int64_t first, int64_t last, int64_t end, float* c, int64_t ldc) {
  require(a.stride == 1, "a product in bf16 takes rows of stride 1, not ", a.stride);
  static thread_local BufferOf<Bf16Pair> buffer;
  static thread_local std::vector<const Bf16Pair*> rows;
  const int64_t stride = row_pairs(K);
  Bf16Pair* packed = buffer.at_least(a.count * stride);
  rows.resize(a.count);
  for (int64_t r = 0; r < a.count; ++r) {
    round_row(a.row[r], K, packed + r * stride);
    rows[r] = packed + r * stride;
  }
  multiply_panels(t, {rows.data(), a.count}, b, first, last, end, c, ldc);
}

void multiply_transposed_bf16(const Bf16Tile& t, const float* const* a, int64_t N,
                              const float* const* b, int64_t K, int64_t count, float* c,
                              int64_t ldc) {
  static thread_local BufferOf<Bf16Pair> a_buffer, b_buffer;
  // Odd, so that strips of one row do not fall into the same cache set.
  const int64_t depth = part(pairs_of(count), rows_at_a_time) | 1;
  const int64_t groups = (N + t.rows - 1) / t.rows, panels = (K + t.columns - 1) / t.columns;
  Bf16Pair* a_packed = a_buffer.at_least(groups * depth * t.rows);
  Bf16Pair* b_packed = b_buffer.at_least(panels * depth * t.columns);
  for (int64_t r = 0; r < count; r += 2 * depth) {
    const int64_t rows = std::min(2 * depth, count - r);
    cut_strips(a + r, rows, N, t.rows, a_packed);
    cut_strips(b + r, rows, K, t.columns, b_packed);
    multiply_strips(t, a_packed, N, b_packed, K, pairs_of(rows), c, ldc, r > 0);
  }
}

}  // namespace gallop::ops
