#include "gallop/runs/background_save.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "gallop/base/file.h"
#include "gallop/training/trainer.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::FailingFileSystem;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

// Holds every file of a checkpoint back until it is let go.
class HoldingFileSystem : public FailingFileSystem {
 public:
  std::unique_ptr<OutputFile> create(const fs::path& path) override {
    if (path.string().find("checkpoints") != std::string::npos) {
      std::unique_lock lock(mutex_);
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return free_; });
    }
    return FailingFileSystem::create(path);
  }
  void wait_for_a_save() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }
  void let_go() {
    const std::scoped_lock lock(mutex_);
    free_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool free_ = false;
};

TEST(BackgroundSave, TakesTheStateOfItsStart) {
  const TemporaryDirectory run;
  HoldingFileSystem files;
  const auto guard = replace_file_system(files);
  runs::CheckpointStore store(run.path(), {});
  runs::BackgroundSaver saver(store);
  std::atomic<bool> before = false;
  const runs::Snapshot snapshot = snapshot_of(10);
  saver.start(snapshot, recipe_of_step(10), [&] { before = true; });
  files.wait_for_a_save();
  EXPECT_TRUE(before);
  EXPECT_FALSE(saver.poll().has_value());
  EXPECT_EQ(message_of([&] { saver.start(snapshot, "", [] {}); }),
            "the checkpoint of step 10 is still being written");
  // What training does to the tensors meanwhile is no part of it.
  for (const auto& [name, tensor] : snapshot.model) tensor.zero_();
  files.let_go();
  const auto result = saver.wait();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->step, 10);
  EXPECT_EQ(result->error, "");
  EXPECT_TRUE(equal(runs::CheckpointStore::load(store.newest()->path), snapshot_of(10)));
  EXPECT_FALSE(saver.wait().has_value()) << "a result is told once";
}

TEST(BackgroundSave, AFailureIsAResult) {
  const TemporaryDirectory run;
  runs::CheckpointStore store(run.path(), {});
  store.save(snapshot_of(5), "");
  runs::BackgroundSaver saver(store);
  FailingFileSystem full(FailingFileSystem::Fault::stay_full, 5);
  const auto guard = replace_file_system(full);
  saver.start(snapshot_of(10), "", [] {});
  EXPECT_THAT(saver.wait().value().error, HasSubstr("made up"));
  EXPECT_EQ(store.newest()->step, 5);
}

TEST(BackgroundSave, TrainingGoesOnMeanwhile) {
  const TemporaryDirectory folder;
  HoldingFileSystem files;
  {
    const auto guard = replace_file_system(files);
    Trainer trainer(recipe_in(folder / "run", {"checkpoint.every=5", "log.every=1"}));
    std::thread release([&] {
      files.wait_for_a_save();
      // The save of step 5 is held back until training has come to step 9; step 10 waits for it.
      while (logged(folder / "run", "train", "loss").size() < 9) std::this_thread::yield();
      files.let_go();
    });
    EXPECT_EQ(trainer.run(), Ended::finished);
    release.join();
  }
  EXPECT_EQ(runs::CheckpointStore(folder / "run", {}).newest()->step, 12);
  EXPECT_TRUE(fs::exists(folder / "run/checkpoints/step-00000010"));
}

TEST(BackgroundSave, WritesTheSameBytes) {
  const TemporaryDirectory folder;
  for (const char* way : {"true", "false"}) {
    Trainer(recipe_in(folder / way, {"checkpoint.every=5", "checkpoint.keep_last=9",
                                     std::string("checkpoint.background_save=") + way}))
        .run();
  }
  for (const char* step : {"05", "10", "12"}) {
    for (const char* file : {"model", "ema", "optimizer"}) {
      const std::string name =
          std::string("checkpoints/step-000000") + step + "/" + file + ".safetensors";
      EXPECT_TRUE(read_file(folder / "true" / name) == read_file(folder / "false" / name)) << name;
    }
  }
}

// A disk that is full from the first save on, in both ways of saving.
class FullDisk : public ::testing::TestWithParam<const char*> {};

TEST_P(FullDisk, LeavesTheRunGoingOrStopsItAsTheRecipeSays) {
  const TemporaryDirectory folder;
  const std::vector<std::string> overrides = {
      "checkpoint.every=5", "log.every=1", "train.steps=20",
      std::string("checkpoint.background_save=") + GetParam()};
  Trainer(recipe_in(folder / "run", overrides)).run(3);
  FailingFileSystem full(FailingFileSystem::Fault::stay_full, 0);
  {
    const auto guard = replace_file_system(full);
    auto stopping = overrides;
    stopping.push_back("checkpoint.on_error=stop");
    EXPECT_NE(message_of([&] { Trainer(recipe_in(folder / "run", stopping)).run(); }), "no error");
  }
  {
    Trainer trainer(recipe_in(folder / "run", overrides));
    EXPECT_EQ(trainer.state().step, 3);
    const auto guard = replace_file_system(full);
    // Training passes steps 5, 10 and 15; the state at the stop cannot be saved, which is an error.
    EXPECT_THAT(message_of([&] { trainer.run(18); }), HasSubstr("made up"));
    EXPECT_EQ(trainer.state().step, 18);
  }
  // The last good state is still there, and there is room again.
  Trainer after(recipe_in(folder / "run", overrides));
  EXPECT_EQ(after.state().step, 3);
  EXPECT_EQ(after.run(), Ended::finished);
  Trainer whole(recipe_in(folder / "whole", overrides));
  whole.run();
  expect_equal_weights(after.model(), whole.model());
}

INSTANTIATE_TEST_SUITE_P(InTheBackgroundOrNot, FullDisk, ::testing::Values("true", "false"));

}  // namespace
}  // namespace gallop::training
