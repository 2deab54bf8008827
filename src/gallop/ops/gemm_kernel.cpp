#include <algorithm>
#include <array>
#include <cstring>

#include "gallop/ops/gemm.h"
#include "gallop/ops/tile.h"

namespace gallop::ops {

namespace {

// Depth of a panel that stays in the first-level cache beside the rows of a tile.
constexpr int64_t most_depth = 320;
// Rows that multiply_transposed packs at a time.
constexpr int64_t rows_at_a_time = 256;
constexpr int most_tile_rows = 16, most_tile_columns = 32;

// Equal parts, none above `most`.
int64_t part(int64_t size, int64_t most) {
  const int64_t parts = (size + most - 1) / most;
  return parts == 0 ? 1 : (size + parts - 1) / parts;
}

// One tile, `columns` of it wanted: the last panel of a matrix is wider than the matrix.
void multiply_tile(int count, const float* const* a, int64_t stride, int64_t K, const float* panel,
                   float* c, int64_t ldc, int64_t columns, bool accumulate) {
  const Tile& t = tile();
  if (columns == t.columns) return t.multiply(count, a, stride, K, panel, c, ldc, accumulate);
  std::array<float, most_tile_rows * most_tile_columns> whole{};
  const auto bytes = static_cast<size_t>(columns) * sizeof(float);
  if (accumulate) {
    for (int r = 0; r < count; ++r) std::memcpy(&whole[r * t.columns], c + r * ldc, bytes);
  }
  t.multiply(count, a, stride, K, panel, whole.data(), t.columns, accumulate);
  for (int r = 0; r < count; ++r) std::memcpy(c + r * ldc, &whole[r * t.columns], bytes);
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

Panels::Panels(int64_t K, int64_t N)
    : K_(K),
      N_(N),
      columns_(tile().columns),
      count_((N + columns_ - 1) / columns_),
      data_(buffer_.at_least(count_ * K * columns_)) {}

void Panels::fill(int64_t p, const float* b) {
  float* to = data_ + p * K_ * columns_;
  const int64_t first = p * columns_, width = std::min(columns_, N_ - first);
  for (int64_t k = 0; k < K_; ++k, to += columns_) {
    std::memcpy(to, b + k * N_ + first, static_cast<size_t>(width) * sizeof(float));
    std::fill(to + width, to + columns_, 0.0F);
  }
}

void Panels::fill_transposed(int64_t p, const float* b) {
  float* to = data_ + p * K_ * columns_;
  const int64_t first = p * columns_, width = std::min(columns_, N_ - first);
  const float* from = b + first * K_;
  for (int64_t k = 0; k < K_; ++k, to += columns_) {
    for (int64_t n = 0; n < width; ++n) to[n] = from[n * K_ + k];
    std::fill(to + width, to + columns_, 0.0F);
  }
}

int64_t block_rows() { return 16 * tile().rows; }

void multiply(const float* const* rows, int64_t count, const Panels& b, float* c, int64_t ldc) {
  const Tile& t = tile();
  const int64_t depth = part(b.K(), most_depth);
  if (b.K() == 0) {
    for (int64_t r = 0; r < count; ++r) std::fill(c + r * ldc, c + r * ldc + b.N(), 0.0F);
  }
  for (int64_t k = 0; k < b.K(); k += depth) {
    const int64_t K = std::min(depth, b.K() - k);
    for (int64_t p = 0; p < b.count(); ++p) {
      const int64_t n = p * t.columns;
      for (int64_t r = 0; r < count; r += t.rows) {
        const int height = static_cast<int>(std::min<int64_t>(t.rows, count - r));
        std::array<const float*, most_tile_rows> a;
        for (int i = 0; i < height; ++i) a[i] = rows[r + i] + k;
        multiply_tile(height, a.data(), 1, K, b.panel(p) + k * t.columns, c + r * ldc + n, ldc,
                      std::min<int64_t>(t.columns, b.N() - n), k > 0);
      }
    }
  }
}

void multiply_transposed(const float* const* a, int64_t N, const float* const* b, int64_t K,
                         int64_t count, float* c, int64_t ldc) {
  const Tile& t = tile();
  static thread_local Buffer a_buffer, b_buffer;
  const int64_t depth = part(count, rows_at_a_time);
  const int64_t groups = (N + t.rows - 1) / t.rows, panels = (K + t.columns - 1) / t.columns;
  float* a_packed = a_buffer.at_least(groups * depth * t.rows);
  float* b_packed = b_buffer.at_least(panels * depth * t.columns);
  const auto pack = [](const float* const* rows, int64_t first, int64_t R, int64_t size,
                       int64_t width, float* packed) {
    for (int64_t r = 0; r < R; ++r) {
      const float* row = rows[first + r];
      for (int64_t i = 0; i < size; i += width) {
        const int64_t part = std::min(width, size - i);
        float* to = packed + i * R + r * width;
        std::memcpy(to, row + i, static_cast<size_t>(part) * sizeof(float));
        std::fill(to + part, to + width, 0.0F);
      }
    }
  };
  if (count == 0) {
    for (int64_t n = 0; n < N; ++n) std::fill(c + n * ldc, c + n * ldc + K, 0.0F);
  }
  for (int64_t r = 0; r < count; r += depth) {
    const int64_t R = std::min(depth, count - r);
    pack(a, r, R, N, t.rows, a_packed);
    pack(b, r, R, K, t.columns, b_packed);
    for (int64_t k = 0; k < K; k += t.columns) {
      for (int64_t n = 0; n < N; n += t.rows) {
        const int height = static_cast<int>(std::min<int64_t>(t.rows, N - n));
        std::array<const float*, most_tile_rows> rows;
        for (int i = 0; i < height; ++i) rows[i] = a_packed + n * R + i;
        multiply_tile(height, rows.data(), t.rows, R, b_packed + k * R, c + n * ldc + k, ldc,
                      std::min<int64_t>(t.columns, K - k), r > 0);
      }
    }
  }
}

}  // namespace gallop::ops
