#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "gallop/base/cpu.h"
#include "gallop/base/file.h"
#include "gallop/config/print.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/background_save.h"
#include "gallop/runs/restore.h"
#include "gallop/training/trainer.h"
#include "tests/support/peak_memory.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;

constexpr uint64_t MiB = uint64_t{1} << 20;
constexpr uint64_t slack = 64 * MiB;

// ctest runs each of these in a process of its own, where the peak is that of the test.
class Memory : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Blocks of a megabyte go back when they are freed, so that what is asked for is measured and
    // not what the heap keeps.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer keeps what is freed";
#endif
  }
};

TEST_F(Memory, ThousandStepsDoNotGrow) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(folder / "run", {"train.steps=1001", "eval.every=50",
                                             "checkpoint.every=50", "log.tensorboard=true"}));
  trainer.run(500);
  const uint64_t first_half = peak_resident_memory();
  trainer.run(1000);
  const uint64_t both = peak_resident_memory();
  ASSERT_GT(first_half, 10 * MiB);
  EXPECT_LE(both, first_half + first_half / 100);
}

// 12 tensors of 8 MiB that stand for model, average and moments alike: 288 MiB to save.
runs::Snapshot large_snapshot() {
  runs::Snapshot snapshot = snapshot_of(10);
  snapshot.model.clear();
  for (int i = 0; i < 12; ++i) {
    snapshot.model.emplace_back("w" + std::to_string(i), at::full({2 * MiB}, 0.5 * i));
  }
  snapshot.ema = snapshot.optimizer = snapshot.model;
  return snapshot;
}

TEST_F(Memory, ASaveNeedsTheLargestTensor) {
  const TemporaryDirectory run;
  runs::CheckpointStore store(run.path(), {});
  const runs::Snapshot snapshot = large_snapshot();
  if (!test::reset_peak_memory()) GTEST_SKIP() << "this system keeps the peak";
  const uint64_t before = resident_memory();
  store.save(snapshot, "");
  EXPECT_LE(peak_resident_memory(), before + 8 * MiB + slack);
}

TEST_F(Memory, ABackgroundSaveNeedsOneCopy) {
  const TemporaryDirectory run;
  runs::CheckpointStore store(run.path(), {});
  const runs::Snapshot snapshot = large_snapshot();
  if (!test::reset_peak_memory()) GTEST_SKIP() << "this system keeps the peak";
  const uint64_t before = resident_memory();
  {
    runs::BackgroundSaver saver(store);
    saver.start(snapshot, "", [] {});
    ASSERT_EQ(saver.wait().value().error, "");
    EXPECT_LE(peak_resident_memory(), before + 288 * MiB + slack);
  }
  EXPECT_LE(resident_memory(), before + slack) << "the copy goes with the saver";
}

// 151 MiB of weights, the largest tensor of them 12 MiB.
const std::vector<std::string> large_model = {"model.width=512", "model.depth=8", "model.heads=8",
                                              "model.mlp={kind=\"dense\"}"};

TEST_F(Memory, ALoadNeedsTheModelAndItsLargestTensor) {
  const TemporaryDirectory folder;
  const fs::path weights = folder / "weights.safetensors";
  uint64_t size = 0;
  {
    runs::Recipe recipe = recipe_in(folder / "run", large_model);
    const auto task = runs::make_task(recipe);
    const auto model = task->make_model();
    model->materialize(1, {}, false);
    for (const auto& [name, tensor] : models::named_tensors(*model)) size += tensor.nbytes();
    nn::save_tensors(weights, models::named_tensors(*model),
                     {{"data", task->description(tasks::Split::train).dump()}});
    write_file_atomically(folder / "config.toml", config::to_toml(recipe));
  }
  ASSERT_GT(size, 130 * MiB);
  // The peak so far is that of making the weights; it must not hide that of loading them.
  if (!test::reset_peak_memory()) GTEST_SKIP() << "this system keeps the peak";
  const uint64_t before = resident_memory();
  const runs::Restored restored = runs::restore(weights);
  EXPECT_LE(peak_resident_memory(), before + size + 12 * MiB + slack);
}

TEST_F(Memory, AResumeNeedsTheStateAndItsLargestTensor) {
  const TemporaryDirectory folder;
  auto overrides = large_model;
  overrides.insert(overrides.end(), {"train.steps=9", "train.batch=1", "eval.every=0"});
  Trainer(recipe_in(folder / "run", overrides)).run(1);
  if (!test::reset_peak_memory()) GTEST_SKIP() << "this system keeps the peak";
  const uint64_t before = resident_memory();
  const Trainer trainer(recipe_in(folder / "run", overrides));
  uint64_t state = 0;
  for (const auto& part :
       {trainer.snapshot().model, trainer.snapshot().ema, trainer.snapshot().optimizer}) {
    for (const auto& [name, tensor] : part) state += tensor.nbytes();
  }
  ASSERT_GT(state, 500 * MiB);
  EXPECT_LE(peak_resident_memory(), before + state + 12 * MiB + slack);
}

}  // namespace
}  // namespace gallop::training
