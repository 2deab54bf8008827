#pragma once

#include <cstdint>
#include <cstring>

/// Compiles a function for several instruction sets; the loader takes the best that the processor
/// has. Not under ThreadSanitizer, which is not ready when the loader asks, and not off x86.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define GALLOP_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GALLOP_CLONES
#endif

#define GALLOP_INLINE [[gnu::always_inline]] inline
/// The same for a lambda, behind its parameters.
#define GALLOP_INLINE_LAMBDA __attribute__((always_inline))

/// Eight floats, for the kernels (sources *_kernel.cpp, which are compiled for speed). Every value
/// goes through the same instructions whatever its place in a row, so that its bits do not depend
/// on what stands beside it.
namespace gallop::ops {

typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t IntLanes __attribute__((vector_size(32)));
constexpr int64_t lane_count = 8;

GALLOP_INLINE Lanes load(const float* from) {
  Lanes x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
GALLOP_INLINE void store(float* to, Lanes x) { std::memcpy(to, &x, sizeof x); }

/// The first `count` lanes; the others are zero, or stay as they are.
GALLOP_INLINE Lanes load(const float* from, int64_t count) {
  if (count == lane_count) return load(from);
  Lanes x = {};
  for (int64_t i = 0; i < count; ++i) x[i] = from[i];
  return x;
}
GALLOP_INLINE void store(float* to, Lanes x, int64_t count) {
  if (count == lane_count) return store(to, x);
  for (int64_t i = 0; i < count; ++i) to[i] = x[i];
}

/// x, from lane `count` on `rest`.
GALLOP_INLINE Lanes first(Lanes x, int64_t count, Lanes rest = Lanes{}) {
  if (count == lane_count) return x;
  const IntLanes number = {0, 1, 2, 3, 4, 5, 6, 7};
  return number < static_cast<int32_t>(count) ? x : rest;
}

/// Lanes of the group that begins at i in a row of `size`: eight but for the last group.
GALLOP_INLINE int64_t group(int64_t i, int64_t size) {
  return size - i < lane_count ? size - i : lane_count;
}

/// body(i, count) for every group of a row.
template <class Body>
GALLOP_INLINE void for_groups(int64_t size, const Body& body) {
  int64_t i = 0;
  for (; i + lane_count <= size; i += lane_count) body(i, lane_count);
  if (i < size) body(i, size - i);
}

/// What `add` makes of `start` and term(i, count) of every group of a row, in a fixed order. Four
/// values side by side take turns, since each step waits for the one before it.
template <class Term, class Add>
GALLOP_INLINE Lanes reduce_groups(int64_t size, Lanes start, const Term& term, const Add& add) {
  Lanes total[4] = {start, start, start, start};
  int64_t i = 0;
  for (; i + 4 * lane_count <= size; i += 4 * lane_count) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      total[j] = add(total[j], term(i + j * lane_count, lane_count));
    }
  }
  for (; i < size; i += lane_count) total[0] = add(total[0], term(i, group(i, size)));
  return add(add(total[0], total[1]), add(total[2], total[3]));
}
template <class Term>
GALLOP_INLINE Lanes sum_groups(int64_t size, const Term& term) {
  return reduce_groups(size, Lanes{}, term,
                       [](Lanes a, Lanes b) GALLOP_INLINE_LAMBDA { return a + b; });
}

/// The sum of all lanes, in a fixed order.
GALLOP_INLINE float sum(Lanes x) {
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

GALLOP_INLINE Lanes lanes(float x) { return Lanes{} + x; }

/// e^x with a relative error below 2e-7 (Cephes' expf); x is held to [-87, 88], NaN stays NaN.
GALLOP_INLINE Lanes exp(Lanes x) {
  const Lanes low = lanes(-87.0F), high = lanes(88.0F);
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding 1.5 * 2^23 leaves round(x / log 2) in the lowest bits.
  const Lanes magic = lanes(12582912.0F);
  const Lanes shifted = x * 1.44269504F + magic;
  const Lanes n = shifted - magic;
  Lanes r = x - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  Lanes p = lanes(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + (r + 1.0F);
  const IntLanes bits = reinterpret_cast<IntLanes>(shifted) - 0x4B400000 + 127;
  return p * reinterpret_cast<Lanes>(bits << 23);
}

/// The tanh form of GELU is x * sigmoid(2u) with u = sqrt(2/pi) (x + 0.044715 x^3).
GALLOP_INLINE Lanes gelu_sigmoid(Lanes x) {
  const Lanes minus_2u = x * -1.5957691216F * (x * x * 0.044715F + 1.0F);
  return 1.0F / (exp(minus_2u) + 1.0F);
}
GALLOP_INLINE Lanes gelu_tanh(Lanes x) { return x * gelu_sigmoid(x); }
/// Its derivative, given s = gelu_sigmoid(x).
GALLOP_INLINE Lanes gelu_tanh_slope(Lanes x, Lanes s) {
  const Lanes twice_du = x * x * (3 * 0.044715F * 1.5957691216F) + 1.5957691216F;
  return s + x * s * (1.0F - s) * twice_du;
}

}  // namespace gallop::ops
