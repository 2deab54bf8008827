// What the machine can do at most.
#include <benchmark/benchmark.h>

#include "benchmarks/support/peak.h"

namespace gallop::testing {
namespace {

void fma(benchmark::State& state) {
  int64_t operations = 0;
  for (auto _ : state) operations += multiply_add_registers();
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(static_cast<double>(operations), benchmark::Counter::kIsRate);
}

const bool registered = [] {
  benchmark::RegisterBenchmark("peak/fma", fma)->MeasureProcessCPUTime();
  benchmark::RegisterBenchmark("peak/fma", fma)->Threads(2)->MeasureProcessCPUTime();
  return true;
}();

}  // namespace
}  // namespace gallop::testing
