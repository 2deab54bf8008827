#include "gallop/ops/cpu/bf16_tile.h"
#include "gallop/ops/cpu/register_tile.h"

namespace gallop::ops {

namespace {

// Of all tiles, so that tests of any of them reach the layout of the instruction.
constexpr int tile_rows = 8, tile_columns = 32;

template <int W>
struct VectorsOf {
  typedef float Floats __attribute__((vector_size(W * sizeof(float))));
  typedef uint32_t Words __attribute__((vector_size(W * sizeof(uint32_t))));
};

// What pairs become before they are multiplied, and how a dot product adds to its sum.

// Two multiply-adds. A product of two bf16 is exact in float32, so it is the same where they are
// not fused.
template <int W>
struct Emulated {
  using Element = Bf16Pair;
  using Number = float;
  using Sum = typename VectorsOf<W>::Floats;
  using Words = typename VectorsOf<W>::Words;
  struct Operand {
    Sum first, second;
  };
  GALLOP_INLINE static Operand operand(Words pairs) {
    return {reinterpret_cast<Sum>(pairs << 16), reinterpret_cast<Sum>(pairs & 0xFFFF0000U)};
  }
  GALLOP_INLINE static Sum add(Sum sum, const Operand& x, const Operand& y) {
    sum += x.second * y.second;
    sum += x.first * y.first;
    return sum;
  }
};

#ifdef __x86_64__
// Named in assembly: an intrinsic cannot be inlined into a template that serves several targets.
struct Native {
  using Element = Bf16Pair;
  using Number = float;
  using Sum = VectorsOf<16>::Floats;
  using Words = VectorsOf<16>::Words;
  using Operand = Words;
  GALLOP_INLINE static Operand operand(Words pairs) { return pairs; }
  GALLOP_INLINE static Sum add(Sum sum, Operand x, Operand y) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
    return sum;
  }
};
#endif

// A whole tile out of parts that fill the registers: M rows of two vectors.
template <class Dot, int M>
GALLOP_INLINE void multiply_parts(int count, const Bf16Pair* const* a, int64_t stride,
                                  int64_t pairs, const Bf16Pair* panel, float* c, int64_t ldc,
                                  bool accumulate) {
  constexpr int width = 2 * sizeof(typename Dot::Sum) / sizeof(float);
  for (int r = 0; r < count; r += M) {
    for (int j = 0; j < tile_columns; j += width) {
      multiply_up_to<Dot, M, tile_columns>(count - r < M ? count - r : M, a + r, stride, pairs,
                                           panel + j, c + r * ldc + j, ldc, accumulate);
    }
  }
}

// multiply_parts<...> compiled for a target.
#define GALLOP_BF16_TILE(name, target, ...)                                            \
  target void name(int count, const Bf16Pair* const* a, int64_t stride, int64_t pairs, \
                   const Bf16Pair* panel, float* c, int64_t ldc, bool accumulate) {    \
    multiply_parts<__VA_ARGS__>(count, a, stride, pairs, panel, c, ldc, accumulate);   \
  }
GALLOP_BF16_TILE(emulated_baseline, , Emulated<4>, 4)
#ifdef __x86_64__
GALLOP_BF16_TILE(emulated_v3, [[gnu::target("arch=x86-64-v3")]], Emulated<8>, 4)
GALLOP_BF16_TILE(emulated_v4, [[gnu::target("arch=x86-64-v4")]], Emulated<16>, tile_rows)
GALLOP_BF16_TILE(native, [[gnu::target("arch=x86-64-v4")]], Native, tile_rows)
#endif

Bf16Tile choose_emulated() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("x86-64-v4")) return {tile_rows, tile_columns, emulated_v4};
  if (__builtin_cpu_supports("x86-64-v3")) return {tile_rows, tile_columns, emulated_v3};
#endif
  return {tile_rows, tile_columns, emulated_baseline};
}

}  // namespace

const Bf16Tile* native_bf16_tile() {
#ifdef __x86_64__
  static constexpr Bf16Tile tile{tile_rows, tile_columns, native};
  static const bool here =
      __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16");
  return here ? &tile : nullptr;
#else
  return nullptr;
#endif
}

const Bf16Tile& emulated_bf16_tile() {
  static const Bf16Tile chosen = choose_emulated();
  return chosen;
}

}  // namespace gallop::ops
