// What the machine can do at most: fused multiply-adds on registers, which every other rate is a
// share of.
#include <benchmark/benchmark.h>

namespace gallop {
namespace {

// Chains enough to hide the latency of a fused multiply-add on two units, and few enough to stay in
// registers.
template <int W>
[[gnu::always_inline]] inline void chains(benchmark::State& state) {
  typedef float Vector __attribute__((vector_size(W * sizeof(float))));
  constexpr int count = 12, rounds = 4096;
  Vector sum[count], factor = Vector{} + 0.999F, addend = Vector{} + 1e-3F;
  for (int i = 0; i < count; ++i) sum[i] = Vector{} + static_cast<float>(i);
  for (auto _ : state) {
    for (int r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
      for (int i = 0; i < count; ++i) sum[i] = sum[i] * factor + addend;
    }
#pragma GCC unroll 12
    for (int i = 0; i < count; ++i) asm volatile("" : : "m"(sum[i]));  // it is used
  }
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(2.0 * W * count * rounds, benchmark::Counter::kIsIterationInvariantRate);
}

void baseline(benchmark::State& state) { chains<4>(state); }
#ifdef __x86_64__
[[gnu::target("arch=x86-64-v3")]] void avx2(benchmark::State& state) { chains<8>(state); }
[[gnu::target("arch=x86-64-v4")]] void avx512(benchmark::State& state) { chains<16>(state); }
#endif

const bool registered = [] {
  auto run = baseline;
#ifdef __x86_64__
  if (__builtin_cpu_supports("x86-64-v3")) run = avx2;
  if (__builtin_cpu_supports("x86-64-v4")) run = avx512;
#endif
  benchmark::RegisterBenchmark("peak/fma", run)->MeasureProcessCPUTime();
  benchmark::RegisterBenchmark("peak/fma", run)->Threads(2)->MeasureProcessCPUTime();
  return true;
}();

}  // namespace
}  // namespace gallop
