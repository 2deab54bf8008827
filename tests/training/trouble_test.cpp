// What a run keeps when something beside its steps goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <exception>
#include <new>

#include "gallop/base/file.h"
#include "gallop/base/json.h"
#include "gallop/base/stop.h"
#include "gallop/runs/background_save.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/restore.h"
#include "gallop/tasks/report.h"
#include "gallop/training/trainer.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"
#include "tests/support/unlucky_task.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;
using test::trouble;
using test::TroubleGuard;
using ::testing::AllOf;
using ::testing::HasSubstr;

runs::Recipe unlucky(const fs::path& run, std::vector<std::string> overrides = {}) {
  // The settings of the other task go with it.
  const std::vector<std::string> unlucky = {
      "task.kind=\"unlucky\"", "task.data.source={kind=\"toy\",count=48}",
      "task.model={kind=\"dit\",depth=2,width=16,heads=2,patch=2,mlp={kind=\"moe\",setting=\"2-in-"
      "4\",losses={router_similarity={weight=1e-4},per_layer={weight=1e-2}}}}",
      "task.eval={samples=12,batch=12}"};
  overrides.insert(overrides.begin(), unlucky.begin(), unlucky.end());
  return recipe_in(run, overrides);
}

// Calibration comes after the last step and needs memory: the steps are saved before, and the same
// command then does what is left.
TEST(Trouble, ARunIsSavedBeforeItIsCalibrated) {
  const TemporaryDirectory folder;
  const TroubleGuard guard;
  {
    trouble().before_calibration = [] { throw std::bad_alloc(); };
    Trainer trainer(unlucky(folder / "run"));
    EXPECT_THROW(trainer.run(), std::bad_alloc);
  }
  const runs::CheckpointStore store(folder / "run", {});
  ASSERT_TRUE(store.newest().has_value());
  EXPECT_EQ(store.newest()->step, 12);
  EXPECT_EQ(runs::CheckpointStore::load(store.newest()->path).ema_metadata.at("threshold"),
            "moving average");
  trouble() = {};
  Trainer again(unlucky(folder / "run"));
  EXPECT_EQ(again.state().step, 12);
  EXPECT_EQ(again.run(), Ended::finished);
  EXPECT_EQ(runs::CheckpointStore::load(store.newest()->path).ema_metadata.at("threshold"),
            "exact");
  Trainer whole(unlucky(folder / "whole"));
  whole.run();
  expect_equal_weights(again.average(), whole.average());
}

// The evaluation at the end may fail as well.
TEST(Trouble, ARunIsSavedBeforeItsLastEvaluation) {
  const TemporaryDirectory folder;
  const TroubleGuard guard;
  trouble().during_evaluation = [] { throw std::bad_alloc(); };
  Trainer trainer(unlucky(folder / "run", {"eval.every=100"}));
  EXPECT_THROW(trainer.run(), std::bad_alloc);
  EXPECT_EQ(runs::CheckpointStore(folder / "run", {}).newest()->step, 12);
}

// A task may call its loss "loss", as language models do, or "lr".
TEST(Trouble, NamesOfATaskAreNoneOfTheTrainers) {
  const TemporaryDirectory folder;
  const TroubleGuard guard;
  Trainer(recipe_in(folder / "usual", {"log.every=1"})).run();
  trouble().after_train = [](tasks::Outcome& out) {
    out.losses.at(0).name = "loss";
    out.parts.emplace_back("lr", out.losses[0].value.detach().mul(0).add(7));
    out.parts.emplace_back("grad_norm", out.losses[0].value.detach().mul(0).add(9));
  };
  trouble().read = [] { return tasks::Reading{.values = {{tasks::logged_name("starved"), 55.0}}}; };
  Trainer(unlucky(folder / "run", {"log.every=1"})).run();
  for (const char* name : {"loss", "lr", "grad_norm", "starved", "router_similarity"}) {
    EXPECT_EQ(logged(folder / "run", "train", name), logged(folder / "usual", "train", name))
        << name;
  }
  EXPECT_EQ(logged(folder / "run", "train", "task_loss"),
            logged(folder / "usual", "train", "main"));
  EXPECT_EQ(logged(folder / "run", "train", "task_lr"), std::vector<double>(12, 7));
  EXPECT_EQ(logged(folder / "run", "train", "task_grad_norm"), std::vector<double>(12, 9));
  EXPECT_EQ(logged(folder / "run", "eval", "starved"), logged(folder / "usual", "eval", "starved"));
  EXPECT_EQ(logged(folder / "run", "eval", "task_starved"), std::vector<double>(3, 55));
}

TEST(Trouble, TwoValuesOfATaskNeedTwoNames) {
  const TemporaryDirectory folder;
  const TroubleGuard guard;
  trouble().after_train = [](tasks::Outcome& out) {
    out.parts.emplace_back("main", out.losses.at(0).value.detach());
  };
  Trainer trainer(unlucky(folder / "run"));
  EXPECT_THAT(message_of([&] { trainer.run(); }), HasSubstr("two values the name 'main'"));
}

// A stop that comes in the middle of an evaluation passes through code that knows std::exception
// only, and ends the run well.
TEST(Trouble, AStopIsAnExceptionLikeOthers) {
  const TemporaryDirectory folder;
  const TroubleGuard guard;
  const StopSignals signals;
  trouble().during_evaluation = [] { request_stop(); };
  Trainer trainer(unlucky(folder / "run"));
  EXPECT_EQ(trainer.run(), Ended::stopped);
  EXPECT_STREQ(static_cast<const std::exception&>(Interrupted()).what(), "asked to stop");
  EXPECT_EQ(runs::CheckpointStore(folder / "run", {}).newest()->step, 4);
}

// A file system on which checkpoints meet what is no error of the disk.
class Exhausted : public test::FailingFileSystem {
 public:
  explicit Exhausted(std::function<void()> fail) : fail_(std::move(fail)) {}
  std::unique_ptr<OutputFile> create(const fs::path& path) override {
    if (path.string().find("checkpoints") != std::string::npos) fail_();
    return FailingFileSystem::create(path);
  }

 private:
  std::function<void()> fail_;
};

class NoMemory : public ::testing::TestWithParam<const char*> {
 protected:
  static void bad_alloc() { throw std::bad_alloc(); }
  static void of_torch() {
    TORCH_CHECK(false, "DefaultCPUAllocator: can't allocate memory\nof so many bytes");
  }
};

TEST_P(NoMemory, WhileSavingDoesNotEndTheRun) {
  for (const auto& [fail, text] :
       {std::pair(&bad_alloc, "out of memory"), std::pair(&of_torch, "can't allocate memory")}) {
    const TemporaryDirectory folder;
    Exhausted files(fail);
    const std::vector<std::string> overrides = {
        "checkpoint.every=3", std::string("checkpoint.background_save=") + GetParam()};
    Trainer trainer(recipe_in(folder / "run", overrides));
    {
      const auto guard = replace_file_system(files);
      ::testing::internal::CaptureStderr();
      // Steps 3 and 6 cannot be saved, and neither can the state at the stop, which is an error.
      EXPECT_ANY_THROW(trainer.run(8));
      const std::string log = ::testing::internal::GetCapturedStderr();
      EXPECT_THAT(
          log, AllOf(HasSubstr("no checkpoint of step 3: "), HasSubstr("no checkpoint of step 6: "),
                     HasSubstr(text), HasSubstr("training goes on")));
      EXPECT_EQ(log.find("of so many bytes"), std::string::npos) << "a backtrace is no reason";
      EXPECT_EQ(trainer.state().step, 8);
    }
    auto stopping = overrides;
    stopping.push_back("checkpoint.on_error=stop");
    Trainer other(recipe_in(folder / "other", stopping));
    const auto guard = replace_file_system(files);
    EXPECT_ANY_THROW(other.run(8));
    EXPECT_LE(other.state().step, 6);
  }
}

INSTANTIATE_TEST_SUITE_P(InTheBackgroundOrNot, NoMemory, ::testing::Values("true", "false"));

// A tensor that cannot be copied: of a size that no machine has.
TEST(Trouble, ACopyThatDoesNotFitIsAnErrorAndGivesBackTheOthers) {
  const TemporaryDirectory run;
  runs::CheckpointStore store(run.path(), {});
  runs::BackgroundSaver saver(store);
  runs::Snapshot huge = snapshot_of(10);
  const at::Tensor one = huge.model[0].second;
  huge.optimizer.emplace_back("w", one.as_strided({int64_t{1} << 50}, {0}));
  EXPECT_ANY_THROW(saver.start(huge, "", [] {}));
  EXPECT_FALSE(saver.poll().has_value());
  saver.start(snapshot_of(20), "", [] {});
  EXPECT_EQ(saver.wait().value().error, "");
  EXPECT_EQ(store.newest()->step, 20);
}

}  // namespace
}  // namespace gallop::training
