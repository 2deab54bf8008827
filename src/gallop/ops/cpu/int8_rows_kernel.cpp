#include <cstring>
#include <limits>

#include "gallop/ops/cpu/int8_rows.h"
#include "gallop/ops/cpu/lanes.h"

namespace gallop::ops {

namespace {

typedef int16_t Shorts __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(8)));
constexpr int32_t infinity_bits = 0x7F800000;

GALLOP_INLINE IntLanes load_words(const int32_t* from, int64_t count) {
  IntLanes x = {};
  if (count == lane_count) {
    std::memcpy(&x, from, sizeof x);
  } else {
    for (int64_t i = 0; i < count; ++i) x[i] = from[i];
  }
  return x;
}

// body(i, count) for each group of lanes; the whole ones have a constant count.
template <class Body>
GALLOP_INLINE void for_each_group(int64_t size, const Body& body) {
  const int64_t whole = size / lane_count * lane_count;
  for (int64_t i = 0; i < whole; i += lane_count) body(i, lane_count);
  if (whole < size) body(whole, size - whole);
}

// The largest magnitude as bits, which are ordered as the numbers are, infinity and NaN above all.
GALLOP_INLINE int32_t largest_bits(const float* x, int64_t K) {
  IntLanes most = {};
  for_each_group(K, [&](int64_t i, int64_t count) __attribute__((always_inline)) {
    const IntLanes bits = reinterpret_cast<IntLanes>(load(x + i, count)) & 0x7FFFFFFF;
    most = bits > most ? bits : most;
  });
  int32_t largest = 0;
  for (int64_t i = 0; i < lane_count; ++i) largest = most[i] > largest ? most[i] : largest;
  return largest;
}

// To is the vector of eight numbers as they stand in memory.
template <class To>
GALLOP_INLINE void round_row(const float* x, int64_t K, float inverse, int offset, char* to) {
  // Adding 1.5 * 2^23 leaves the rounded number in the lowest bits.
  const Lanes most = lanes(most_int8), magic = lanes(12582912.0F);
  for_each_group(K, [&](int64_t i, int64_t count) __attribute__((always_inline)) {
    // The limit is never passed. It keeps the product and the sum apart: fused where there are such
    // instructions, they would round some ties the other way.
    Lanes value = load(x + i, count) * inverse;
    value = value > most ? most : value;
    const IntLanes bits = reinterpret_cast<IntLanes>(value + magic) + (offset - 0x4B400000);
    const To numbers = __builtin_convertvector(bits, To);
    std::memcpy(to + i / lane_count * static_cast<int64_t>(sizeof(To)), &numbers, sizeof numbers);
  });
}

// The `count` columns from i on.
template <bool Gelu>
GALLOP_INLINE void finish_column(const int32_t* sums, int64_t ld_sums, int64_t rows, int64_t count,
                                 const float* row_scale, const Int8Finish& finish, int64_t i,
                                 float* y, int64_t ld_y) {
  const IntLanes shift = load_words(finish.shift + i, count);
  const Lanes scale = load(finish.scale + i, count);
  const Lanes bias = finish.bias == nullptr ? Lanes{} : load(finish.bias + i, count);
  const auto result = [&](IntLanes sum, int64_t r) __attribute__((always_inline)) {
    const Lanes value = __builtin_convertvector(sum - shift, Lanes) * scale * row_scale[r] + bias;
    return Gelu ? gelu_tanh(value) : value;
  };
  for (int64_t r = 0; r < rows; ++r) {
    store(y + r * ld_y, result(load_words(sums + r * ld_sums, count), r), count);
  }
}

}  // namespace

int64_t row_words(const Int8Layout& layout, int64_t K) {
  return (K + lane_count - 1) / lane_count * lane_count / layout.together;
}

GALLOP_CLONES
float quantize_row(const float* x, int64_t K, const Int8Layout& layout, int offset,
                   int32_t* words) {
  const int32_t bits = largest_bits(x, K);
  float largest = 0;
  std::memcpy(&largest, &bits, sizeof largest);
  if (bits >= infinity_bits) {
    std::memset(words, 0, static_cast<size_t>(row_words(layout, K)) * sizeof *words);
    return std::numeric_limits<float>::quiet_NaN();
  }
  const bool zero = largest < least_int8;
  const float inverse = zero ? 0 : most_int8 / largest;
  auto* to = reinterpret_cast<char*>(words);
  if (layout.together == 2) {
    round_row<Shorts>(x, K, inverse, offset, to);
  } else {
    round_row<Bytes>(x, K, inverse, offset, to);
  }
  return zero ? 0 : largest / most_int8;
}

GALLOP_CLONES
void finish_rows(const int32_t* sums, int64_t ld_sums, int64_t rows, int64_t width,
                 const float* row_scale, const Int8Finish& finish, float* y, int64_t ld_y) {
  for (int64_t i = 0; i < width; i += lane_count) {
    const int64_t count = group(i, width);
    if (finish.gelu) {
      finish_column<true>(sums + i, ld_sums, rows, count, row_scale, finish, i, y + i, ld_y);
    } else {
      finish_column<false>(sums + i, ld_sums, rows, count, row_scale, finish, i, y + i, ld_y);
    }
  }
}

}  // namespace gallop::ops
