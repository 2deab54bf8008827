#include "benchmarks/support/peak.h"

#include <algorithm>
#include <chrono>

namespace gallop::testing {
namespace {

// Chains enough to hide the latency of a fused multiply-add on two units, and few enough to stay in
// registers.
template <int W>
[[gnu::always_inline]] inline int64_t chains() {
  typedef float Vector __attribute__((vector_size(W * sizeof(float))));
  constexpr int count = 12, rounds = 4096;
  Vector sum[count], factor = Vector{} + 0.999F, addend = Vector{} + 1e-3F;
  for (int i = 0; i < count; ++i) sum[i] = Vector{} + static_cast<float>(i);
  for (int r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < count; ++i) sum[i] = sum[i] * factor + addend;
  }
#pragma GCC unroll 12
  for (int i = 0; i < count; ++i) asm volatile("" : : "m"(sum[i]));  // it is used
  return int64_t{2} * W * count * rounds;
}

int64_t baseline() { return chains<4>(); }
#ifdef __x86_64__
[[gnu::target("arch=x86-64-v3")]] int64_t avx2() { return chains<8>(); }
[[gnu::target("arch=x86-64-v4")]] int64_t avx512() { return chains<16>(); }
#endif

using Run = int64_t (*)();
Run choose() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("x86-64-v4")) return avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return avx2;
#endif
  return baseline;
}

}  // namespace

int64_t multiply_add_registers() {
  static const Run run = choose();
  return run();
}

double peak_of_a_core() {
  static const double peak = [] {
    using Clock = std::chrono::steady_clock;
    double best = 0;
    for (const auto end = Clock::now() + std::chrono::milliseconds(50); Clock::now() < end;) {
      const auto begin = Clock::now();
      int64_t operations = 0;
      for (int i = 0; i < 100; ++i) operations += multiply_add_registers();
      const std::chrono::duration<double> seconds = Clock::now() - begin;
      best = std::max(best, static_cast<double>(operations) / seconds.count());
    }
    return best;
  }();
  return peak;
}

}  // namespace gallop::testing
