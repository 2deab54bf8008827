#include "gallop/ops/cpu/int8_tile.h"
#include "gallop/ops/cpu/register_tile.h"

namespace gallop::ops {

namespace {

// What words of the left and the right-hand side add to their sums. Instructions are named in
// assembly: an intrinsic cannot be inlined into a template that serves several targets.

// Two numbers of 16 bits, in C++ for every processor.
struct Pairs {
  template <class V>
  GALLOP_INLINE static V add(V sum, V left, V right) {
    return sum + ((left << 16) >> 16) * ((right << 16) >> 16) + (left >> 16) * (right >> 16);
  }
};

// Four numbers of 8 bits, the left ones unsigned.
struct Quads {
  template <class V>
  GALLOP_INLINE static V add(V sum, V left, V right) {
    return sum + (left & 255) * ((right << 24) >> 24) +
           ((left >> 8) & 255) * ((right << 16) >> 24) +
           ((left >> 16) & 255) * ((right << 8) >> 24) + ((left >> 24) & 255) * (right >> 24);
  }
};

#ifdef __x86_64__
struct PairsSse2 {
  template <class V>
  GALLOP_INLINE static V add(V sum, V left, V right) {
    asm("pmaddwd %1, %0" : "+x"(left) : "x"(right));
    return sum + left;
  }
};

struct PairsAvx {
  template <class V>
  GALLOP_INLINE static V add(V sum, V left, V right) {
    V products;
    asm("vpmaddwd %2, %1, %0" : "=v"(products) : "v"(left), "v"(right));
    return sum + products;
  }
};

struct QuadsAvxVnni {
  template <class V>
  GALLOP_INLINE static V add(V sum, V left, V right) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(left), "x"(right));
    return sum;
  }
};

struct QuadsAvx512Vnni {
  template <class V>
  GALLOP_INLINE static V add(V sum, V left, V right) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
    return sum;
  }
};
#endif

// One of them on W words at a time.
template <class Add, int W>
struct Dot {
  using Element = int32_t;
  using Number = int32_t;
  typedef int32_t Sum __attribute__((vector_size(W * sizeof(int32_t))));
  using Words = Sum;
  GALLOP_INLINE static Words operand(Words x) { return x; }
  GALLOP_INLINE static Sum add(Sum sum, Words left, Words right) {
    return Add::add(sum, left, right);
  }
};

template <class Add, int W, int M>
GALLOP_INLINE void multiply(int count, const int32_t* const* a, int64_t words, const int32_t* panel,
                            int32_t* c) {
  multiply_up_to<Dot<Add, W>, M, 2 * W>(count, a, /*stride=*/1, words, panel, c, /*ldc=*/2 * W,
                                        /*accumulate=*/false);
}

// multiply<...> compiled for a target.
#define GALLOP_INT8_TILE(name, target, ...)                                                 \
  target void name(int count, const int32_t* const* a, int64_t words, const int32_t* panel, \
                   int32_t* c) {                                                            \
    multiply<__VA_ARGS__>(count, a, words, panel, c);                                       \
  }
GALLOP_INT8_TILE(pairs_portable, , Pairs, 4, 4)
GALLOP_INT8_TILE(quads_portable, , Quads, 4, 4)
#ifdef __x86_64__
GALLOP_INT8_TILE(pairs_sse2, , PairsSse2, 4, 4)
GALLOP_INT8_TILE(pairs_avx2, [[gnu::target("arch=x86-64-v3")]], PairsAvx, 8, 6)
GALLOP_INT8_TILE(quads_avx2, [[gnu::target("arch=x86-64-v3")]], Quads, 8, 6)
GALLOP_INT8_TILE(quads_avx_vnni, [[gnu::target("arch=x86-64-v3")]], QuadsAvxVnni, 8, 6)
GALLOP_INT8_TILE(pairs_avx512, [[gnu::target("arch=x86-64-v4")]], PairsAvx, 16, 8)
GALLOP_INT8_TILE(quads_avx512_vnni, [[gnu::target("arch=x86-64-v4")]], QuadsAvx512Vnni, 16, 8)
#endif

// The fastest first.
std::vector<Int8Tile> list() {
  std::vector<Int8Tile> tiles;
#ifdef __x86_64__
  const bool v3 = __builtin_cpu_supports("x86-64-v3"), v4 = __builtin_cpu_supports("x86-64-v4");
  if (v4 && __builtin_cpu_supports("avx512vnni")) {
    tiles.push_back({"avx512-vnni", {4}, 8, 32, quads_avx512_vnni});
  }
  if (v3 && __builtin_cpu_supports("avxvnni")) {
    tiles.push_back({"avx-vnni", {4}, 6, 16, quads_avx_vnni});
  }
  if (v4) tiles.push_back({"avx512", {2}, 8, 32, pairs_avx512});
  if (v3) tiles.push_back({"avx2", {2}, 6, 16, pairs_avx2});
  if (v3) tiles.push_back({"avx2, quads", {4}, 6, 16, quads_avx2});
  tiles.push_back({"sse2", {2}, 4, 8, pairs_sse2});
#endif
  tiles.push_back({"portable", {2}, 4, 8, pairs_portable});
  tiles.push_back({"portable, quads", {4}, 4, 8, quads_portable});
  return tiles;
}

}  // namespace

const Int8Tile& int8_tile() { return int8_tiles().front(); }

const std::vector<Int8Tile>& int8_tiles() {
  static const std::vector<Int8Tile> tiles = list();
  return tiles;
}

}  // namespace gallop::ops
