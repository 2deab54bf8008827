#include "gallop/ops/cpu/int8_panels.h"

#include <algorithm>
#include <array>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/products.h"

namespace gallop::ops {

namespace {

// Over the numbers of a row, as the right-hand side has them.
int32_t sum_of(const int32_t* words, int64_t K, const Int8Layout& layout) {
  const int bits = 32 / layout.together;
  int32_t sum = 0;
  for (int64_t k = 0; k < K; ++k) {
    const auto word = static_cast<uint32_t>(words[k / layout.together]);
    const auto number = static_cast<int32_t>(word << (32 - bits - k % layout.together * bits));
    sum += number >> (32 - bits);
  }
  return sum;
}

}  // namespace

Int8Panels::Int8Panels(int64_t N, int64_t K, const Int8Tile& tile) : tile_(&tile), N_(N), K_(K) {
  require(K <= most_int8_K, "8-bit weights: an inner size of ", K,
          " could overflow sums of 32 bits; the largest is ", most_int8_K);
  words_.resize(count() * panel_words());
  shift_.resize(N);
  scale_.resize(N);
}

void Int8Panels::fill(int64_t p, const float* weight) {
  const Int8Layout& layout = tile_->layout;
  const int64_t words = layout.words(K_), columns = tile_->columns;
  std::vector<int32_t> row(row_words(layout, K_));
  int32_t* to = words_.data() + p * panel_words();
  for (int64_t n = column(p); n < column(p + 1); ++n, ++to) {
    scale_[n] = quantize_row(weight + n * K_, K_, layout, 0, row.data());
    shift_[n] = layout.offset() * sum_of(row.data(), K_, layout);
    for (int64_t k = 0; k < words; ++k) to[k * columns] = row[k];
  }
}

void Int8Rows::reshape(int64_t count, int64_t K, const Int8Tile& tile) {
  layout_ = tile.layout;
  K_ = K;
  data_ = buffer_.at_least(count * row_words(layout_, K));
  rows_.resize(count);
}

void Int8Rows::fill(int64_t r, const float* x) {
  int32_t* words = data_ + r * row_words(layout_, K_);
  rows_[r] = {words, quantize_row(x, K_, layout_, layout_.offset(), words)};
}

void multiply(std::span<const Int8Row> x, const Int8Panels& weight, int64_t first, int64_t last,
              const float* bias, bool gelu, float* y, int64_t ldy) {
  const Int8Tile& t = weight.tile();
  const auto count = static_cast<int64_t>(x.size());
  const int64_t words = t.layout.words(weight.K()), tiles = (count + t.rows - 1) / t.rows;
  std::array<int32_t, Int8Tile::most_rows * Int8Tile::most_columns> sums;
  std::array<const int32_t*, Int8Tile::most_rows> rows;
  std::array<float, Int8Tile::most_rows> scale;
  for (int64_t p = first; p < last; ++p) {
    const int64_t n = weight.column(p), width = weight.column(p + 1) - n;
    const Int8Finish finish{weight.scale() + n, weight.shift() + n,
                            bias == nullptr ? nullptr : bias + n, gelu};
    // Tiles of nearly equal height, finished while their sums are in the first-level cache.
    for (int64_t i = 0, r = 0; i < tiles; ++i) {
      const auto height = static_cast<int>((count - r + tiles - i - 1) / (tiles - i));
      for (int j = 0; j < height; ++j) {
        rows[j] = x[r + j].words;
        scale[j] = x[r + j].scale;
        __builtin_prefetch(y + (r + j) * ldy + n, 1);
      }
      t.multiply(height, rows.data(), words, weight.panel(p), sums.data());
      finish_rows(sums.data(), t.columns, height, width, scale.data(), finish, y + r * ldy + n,
                  ldy);
      r += height;
    }
  }
}

void multiply(const float* x, int64_t rows, const Int8Panels& weight, const float* bias, bool gelu,
              float* y) {
  const int64_t K = weight.K(), N = weight.N();
  const std::vector<RowBlock> blocks = row_blocks(std::vector<int64_t>{0, rows});
  const auto count = static_cast<int64_t>(blocks.size());
  const Parts parts = column_parts(count, weight.count());
  // Rows that several tasks read are brought to 8 bits before.
  const bool few = parts.count() > 1;
  Int8Rows all;
  if (few) {
    all.reshape(rows, K, weight.tile());
    const Parts chunks{rows, 16};
    parallel_each(chunks.count(), rows * K * work_of_a_number, [&](int64_t i) {
      const int64_t begin = chunks.begin(i), end = begin + chunks.length(i);
      for (int64_t r = begin; r < end; ++r) all.fill(r, x + r * K);
    });
  }
  parallel_each(count * parts.count(), rows * K * N, [&](int64_t task) {
    static thread_local Int8Rows own;
    const auto [group, begin, size] = blocks[task / parts.count()];
    if (!few) {
      own.reshape(size, K, weight.tile());
      for (int64_t r = 0; r < size; ++r) own.fill(r, x + (begin + r) * K);
    }
    const int64_t first = parts.begin(task % parts.count());
    const int64_t last = first + parts.length(task % parts.count());
    multiply(few ? all.rows().subspan(begin, size) : own.rows(), weight, first, last, bias, gelu,
             y + begin * N, N);
  });
}

}  // namespace gallop::ops
