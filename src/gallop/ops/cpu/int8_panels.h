#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gallop/ops/cpu/buffer.h"
#include "gallop/ops/cpu/int8_rows.h"
#include "gallop/ops/cpu/int8_tile.h"

/// Products of 8-bit numbers on rows given by pointers. The sums are exact, so a row of a result
/// has the same bits whatever the rows beside it and the threads.
namespace gallop::ops {

/// Largest inner size: 255 * 127 * K, the most that a sum reaches in any layout, stays below 2^31.
constexpr int64_t most_int8_K = 66'310;

/// A weight [N, K] in 8 bits with a scale for each of its N outputs, in the order that a tile
/// reads: panels of a few outputs.
class Int8Panels {
 public:
  /// Throws Error for K above most_int8_K.
  Int8Panels(int64_t N, int64_t K, const Int8Tile& tile);
  /// Fills panel p from the weight [N, K]. A row of it with an infinity or NaN gives results NaN.
  void fill(int64_t p, const float* weight);

  const Int8Tile& tile() const { return *tile_; }
  int64_t N() const { return N_; }
  int64_t K() const { return K_; }
  int64_t count() const { return (N_ + tile_->columns - 1) / tile_->columns; }
  /// The first output of panel p; N for p = count().
  int64_t column(int64_t p) const { return p * tile_->columns < N_ ? p * tile_->columns : N_; }
  const int32_t* panel(int64_t p) const { return words_.data() + p * panel_words(); }
  const float* scale() const { return scale_.data(); }
  const int32_t* shift() const { return shift_.data(); }
  int64_t bytes() const { return static_cast<int64_t>(words_.size() * sizeof(int32_t)); }

 private:
  int64_t panel_words() const { return tile_->layout.words(K_) * tile_->columns; }

  const Int8Tile* tile_;
  int64_t N_, K_;
  std::vector<int32_t> words_, shift_;
  std::vector<float> scale_;
};

/// A row of activations in the layout of a tile.
struct Int8Row {
  const int32_t* words;
  float scale;
};

/// `count` rows of K activations in 8 bits; the memory stays when others take their place.
class Int8Rows {
 public:
  void reshape(int64_t count, int64_t K, const Int8Tile& tile);
  /// May be called for several rows at once.
  void fill(int64_t r, const float* x);
  std::span<const Int8Row> rows() const { return rows_; }

 private:
  Int8Layout layout_;
  int64_t K_ = 0;
  BufferOf<int32_t> buffer_;
  int32_t* data_ = nullptr;
  std::vector<Int8Row> rows_;
};

/// y = x W^T + bias (null: none), then gelu_tanh if `gelu`, for the outputs of the panels first <=
/// p < last; the rows of y, of N numbers, are ldy apart.
void multiply(std::span<const Int8Row> x, const Int8Panels& weight, int64_t first, int64_t last,
              const float* bias, bool gelu, float* y, int64_t ldy);

/// The same for all outputs of x [rows, K], shared by all threads; y [rows, N].
void multiply(const float* x, int64_t rows, const Int8Panels& weight, const float* bias, bool gelu,
              float* y);

}  // namespace gallop::ops
