// How long training waits for a checkpoint of 288 MiB: the whole save, or the copy that a save in
// the background takes.
#include <ATen/ops/full.h>
#include <benchmark/benchmark.h>

#include "gallop/runs/background_save.h"
#include "tests/support/temporary_directory.h"

namespace gallop::training {
namespace {

runs::Snapshot snapshot() {
  runs::Snapshot snapshot;
  snapshot.state = Json::object();
  int64_t n = 0;
  for (runs::NamedTensors* part : {&snapshot.model, &snapshot.ema, &snapshot.optimizer}) {
    for (int i = 0; i < 12; ++i, ++n) {
      part->emplace_back("w" + std::to_string(i),
                         at::full({int64_t{2} << 20}, 0.5 * static_cast<double>(n)));
    }
  }
  return snapshot;
}

void foreground(benchmark::State& state) {
  const test::TemporaryDirectory run;
  runs::CheckpointStore store(run.path(), {});
  runs::Snapshot saved = snapshot();
  for (auto _ : state) {
    saved.step += 1;
    store.save(saved, "");
  }
}

void background(benchmark::State& state) {
  const test::TemporaryDirectory run;
  runs::CheckpointStore store(run.path(), {});
  runs::Snapshot saved = snapshot();
  runs::BackgroundSaver saver(store);
  for (auto _ : state) {
    saved.step += 1;
    saver.start(saved, "", [] {});
    state.PauseTiming();
    if (const auto result = saver.wait(); !result->error.empty())
      state.SkipWithError(result->error.c_str());
    state.ResumeTiming();
  }
}

BENCHMARK(foreground)
    ->Name("save/training waits for all of it")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(5);
BENCHMARK(background)
    ->Name("save/training waits for the copy")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(5);

}  // namespace
}  // namespace gallop::training
