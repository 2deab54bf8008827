#include <algorithm>
#include <array>
#include <cstring>

#include "gallop/ops/gemm.h"
#include "gallop/ops/lanes.h"
#include "gallop/ops/tile.h"

namespace gallop::ops {

namespace {

// Depth of a panel that stays in the first-level cache beside the rows of a tile.
constexpr int64_t most_depth = 320;
// Rows that multiply_transposed packs at a time.
constexpr int64_t rows_at_a_time = 192;
constexpr int most_tile_rows = 16, most_tile_columns = 32;

// Equal parts, none above `most`.
int64_t part(int64_t size, int64_t most) {
  const int64_t parts = (size + most - 1) / most;
  return parts == 0 ? 1 : (size + parts - 1) / parts;
}

// One tile of which only `columns` are wanted: the last panel of a matrix is wider than the matrix.
[[gnu::noinline]] void multiply_part(const Tile& t, int count, const float* const* a,
                                     int64_t stride, int64_t K, const float* panel, float* c,
                                     int64_t ldc, int64_t columns, bool accumulate) {
  std::array<float, most_tile_rows * most_tile_columns> whole{};
  const auto bytes = static_cast<size_t>(columns) * sizeof(float);
  if (accumulate) {
    for (int r = 0; r < count; ++r) std::memcpy(&whole[r * t.columns], c + r * ldc, bytes);
  }
  t.multiply(count, a, stride, K, panel, whole.data(), t.columns, accumulate);
  for (int r = 0; r < count; ++r) std::memcpy(c + r * ldc, &whole[r * t.columns], bytes);
}

GALLOP_INLINE void multiply_tile(const Tile& t, int count, const float* const* a, int64_t stride,
                                 int64_t K, const float* panel, float* c, int64_t ldc,
                                 int64_t columns, bool accumulate) {
  if (columns == t.columns) return t.multiply(count, a, stride, K, panel, c, ldc, accumulate);
  multiply_part(t, count, a, stride, K, panel, c, ldc, columns, accumulate);
}

// Cuts `count` rows of `size` floats into strips `Width` wide, the last one padded with zeros:
// strip by strip, in each row by row.
template <int64_t Width>
void cut_strips_of(const float* const* rows, int64_t count, int64_t size, float* strips) {
  const int64_t whole = size / Width * Width;
  for (int64_t r = 0; r < count; ++r) {
    float* to = strips + r * Width;
    for (int64_t i = 0; i < whole; i += Width, to += count * Width) {
      std::memcpy(to, rows[r] + i, Width * sizeof(float));
    }
    if (whole == size) continue;
    std::fill(std::copy(rows[r] + whole, rows[r] + size, to), to + Width, 0.0F);
  }
}

void cut_strips(const float* const* rows, int64_t count, int64_t size, int64_t width,
                float* strips) {
  switch (width) {
    case 4:
      return cut_strips_of<4>(rows, count, size, strips);
    case 6:
      return cut_strips_of<6>(rows, count, size, strips);
    case 8:
      return cut_strips_of<8>(rows, count, size, strips);
    case 16:
      return cut_strips_of<16>(rows, count, size, strips);
    case 32:
      return cut_strips_of<32>(rows, count, size, strips);
  }
}

// Transposes eight rows of eight numbers; only `rows` of them are there, the others are zero.
GALLOP_INLINE void transpose_square(const float* from, int64_t ld, int64_t rows, float* to,
                                    int64_t ld_to) {
  Lanes x[8], y[8];
  for (int i = 0; i < 8; ++i) x[i] = i < rows ? load(from + i * ld) : Lanes{};
  for (int i = 0; i < 8; i += 2) {
    y[i] = __builtin_shufflevector(x[i], x[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    y[i + 1] = __builtin_shufflevector(x[i], x[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      x[i + 2 * j] = __builtin_shufflevector(y[i + j], y[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      x[i + 2 * j + 1] =
          __builtin_shufflevector(y[i + j], y[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    store(to + i * ld_to, __builtin_shufflevector(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(to + (i + 4) * ld_to,
          __builtin_shufflevector(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

// to[k][n] = from[n][k] for n < rows, zero for rows <= n < ld_to, which is a multiple of 8.
GALLOP_CLONES
void transpose(const float* from, int64_t ld, int64_t rows, int64_t K, float* to, int64_t ld_to) {
  const int64_t square_K = K / lane_count * lane_count;
  for (int64_t n = 0; n < ld_to; n += lane_count) {
    for (int64_t k = 0; k < square_K; k += lane_count) {
      transpose_square(from + n * ld + k, ld, rows - n, to + k * ld_to + n, ld_to);
    }
  }
  for (int64_t k = square_K; k < K; ++k) {
    for (int64_t n = 0; n < ld_to; ++n) to[k * ld_to + n] = n < rows ? from[n * ld + k] : 0.0F;
  }
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

void Panels::reshape(int64_t K, int64_t N) {
  K_ = K;
  N_ = N;
  columns_ = tile().columns;
  count_ = (N + columns_ - 1) / columns_;
  data_ = buffer_.at_least(count_ * K * columns_);
}

void Panels::fill(int64_t p, const float* b, int64_t ld) {
  float* to = data_ + p * K_ * columns_;
  const int64_t width = column(p + 1) - column(p);
  b += column(p);
  if (width == 8 && columns_ == 8) return gather_of<8>(b, ld, K_, to);
  if (width == 16 && columns_ == 16) return gather_of<16>(b, ld, K_, to);
  if (width == 32 && columns_ == 32) return gather_of<32>(b, ld, K_, to);
  for (int64_t k = 0; k < K_; ++k, to += columns_, b += ld) {
    std::fill(std::copy(b, b + width, to), to + columns_, 0.0F);
  }
}

void Panels::fill_transposed(int64_t p, const float* b, int64_t ld) {
  transpose(b + column(p) * ld, ld, column(p + 1) - column(p), K_, data_ + p * K_ * columns_,
            columns_);
}

int64_t block_rows() { return 16 * tile().rows; }

void multiply(const Rows& a, const Panels& b, int64_t first, int64_t last, float* c, int64_t ldc,
              bool whole_panels) {
  const Tile& t = tile();
  const int64_t end = whole_panels && last == b.count() ? b.padded_N() : b.column(last);
  if (b.K() == 0) {
    for (int64_t r = 0; r < a.count; ++r) {
      std::fill(c + r * ldc + b.column(first), c + r * ldc + end, 0.0F);
    }
  }
  const int64_t depth = part(b.K(), most_depth), tiles = (a.count + t.rows - 1) / t.rows;
  std::array<const float*, most_tile_rows> rows;
  for (int64_t k = 0; k < b.K(); k += depth) {
    const int64_t K = std::min(depth, b.K() - k);
    for (int64_t p = first; p < last; ++p) {
      const int64_t n = b.column(p), width = std::min<int64_t>(t.columns, end - n);
      // Tiles of nearly equal height: one row alone would cost almost as much as six.
      for (int64_t i = 0, r = 0; i < tiles; ++i) {
        const auto height = static_cast<int>((a.count - r + tiles - i - 1) / (tiles - i));
        for (int j = 0; j < height; ++j) rows[j] = a.row[r + j] + k * a.stride;
        multiply_tile(t, height, rows.data(), a.stride, K, b.panel(p) + k * t.columns,
                      c + r * ldc + n, ldc, width, k > 0);
        r += height;
      }
    }
  }
}

void multiply_transposed(const float* const* a, int64_t N, const float* const* b, int64_t K,
                         int64_t count, float* c, int64_t ldc) {
  const Tile& t = tile();
  static thread_local Buffer a_buffer, b_buffer;
  // Odd, so that strips of one row do not fall into the same cache set.
  const int64_t depth = part(count, rows_at_a_time) | 1;
  const int64_t groups = (N + t.rows - 1) / t.rows, panels = (K + t.columns - 1) / t.columns;
  float* a_packed = a_buffer.at_least(groups * depth * t.rows);
  float* b_packed = b_buffer.at_least(panels * depth * t.columns);
  if (count == 0) {
    for (int64_t n = 0; n < N; ++n) std::fill(c + n * ldc, c + n * ldc + K, 0.0F);
  }
  for (int64_t r = 0; r < count; r += depth) {
    const int64_t R = std::min(depth, count - r);
    cut_strips(a + r, R, N, t.rows, a_packed);
    cut_strips(b + r, R, K, t.columns, b_packed);
    for (int64_t k = 0; k < K; k += t.columns) {
      for (int64_t n = 0; n < N; n += t.rows) {
        const int height = static_cast<int>(std::min<int64_t>(t.rows, N - n));
        std::array<const float*, most_tile_rows> rows;
        for (int i = 0; i < height; ++i) rows[i] = a_packed + n * R + i;
        multiply_tile(t, height, rows.data(), t.rows, R, b_packed + k * R, c + n * ldc + k, ldc,
                      std::min<int64_t>(t.columns, K - k), r > 0);
      }
    }
  }
}

}  // namespace gallop::ops
