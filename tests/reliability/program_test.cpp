// What a run as a program does when it is stopped, or what it stands on breaks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "gallop/base/file.h"
#include "gallop/runs/checkpoint.h"
#include "tests/support/program.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_program.h"

namespace gallop::training {
namespace {

using test::ProgramResult;
using test::run_program;
using test::RunningProgram;
using test::TinyProgram;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

void expect_same_weights(const fs::path& a, const fs::path& b) {
  const std::string name = runs::CheckpointStore(a, {}).newest()->path.filename();
  for (const char* file : {"model", "ema", "optimizer"}) {
    const std::string path = "checkpoints/" + name + "/" + file + ".safetensors";
    EXPECT_TRUE(read_file(a / path) == read_file(b / path)) << path;
  }
}

// The newest checkpoint is damaged: the run names it and goes on from the one before to the same
// end.
TEST(Program, GoesOnFromTheCheckpointBeforeADamagedOne) {
  const TinyProgram tiny;
  ASSERT_EQ(run_program(tiny.train("whole")).status, 0);
  const auto damage = [](const std::string& kind, const fs::path& file) {
    if (kind == "missing") {
      fs::remove(file);
    } else if (kind == "short") {
      fs::resize_file(file, fs::file_size(file) / 3);
    } else {
      std::string bytes = read_file(file);
      bytes[bytes.size() / 2] ^= 4;
      put(file, bytes);
    }
  };
  for (const char* kind : {"missing", "short", "flipped"}) {
    ASSERT_EQ(run_program(tiny.train(kind)).status, 0);
    damage(kind, tiny / kind / "checkpoints/step-00000020/optimizer.safetensors");
    const ProgramResult again = run_program(tiny.train(kind));
    EXPECT_EQ(again.status, 0) << kind;
    EXPECT_THAT(again.err,
                AllOf(HasSubstr("passing over a damaged checkpoint"), HasSubstr("step-00000020"),
                      HasSubstr("optimizer.safetensors"), HasSubstr("going on from step 15")))
        << kind;
    expect_same_weights(tiny / kind, tiny / "whole");
  }
}

TEST(Program, AFileSizeLimitIsAWarningAndThenAnError) {
  const TinyProgram tiny;
  ASSERT_EQ(run_program(tiny.train("run", {"train.steps=4"})).status, 0);
  auto args = tiny.train("run", {"train.steps=12", "log.tensorboard=false"});
  args.insert(args.begin(), {"--fsize=20000", std::string(GALLOP_PROGRAM)});
  args.insert(args.end(), {"--allow", "train.steps"});
  const ProgramResult limited = run_program(args, {.program = "/usr/bin/prlimit"});
  EXPECT_EQ(limited.status, 2) << limited.err;
  EXPECT_THAT(limited.err, AllOf(HasSubstr("no checkpoint of step 5"), HasSubstr("File too large"),
                                 HasSubstr("Earlier checkpoints can still be used")));
  EXPECT_EQ(runs::CheckpointStore(tiny / "run", {}).newest()->step, 4);
}

/// A small file system in memory; needs the right to mount.
class SmallDisk {
 public:
  explicit SmallDisk(fs::path path) : path_(std::move(path)) {
    fs::create_directories(path_);
    mounted_ = mount("none", path_.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool grow() const { return mount("none", path_.c_str(), nullptr, MS_REMOUNT, "size=8m") == 0; }

 private:
  fs::path path_;
  bool mounted_ = false;
};

// Checkpoints of 320 kB on a disk of 1 MB that is also filled by something else.
TEST(Program, AFullDiskKeepsTheLastGoodState) {
  const TinyProgram tiny;
  const SmallDisk disk(tiny / "disk");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a small tmpfs needs root";
  const std::vector<std::string> keys = {"checkpoint.keep_last=1", "log.tensorboard=false"};
  ASSERT_EQ(run_program(tiny.train("whole", keys)).status, 0);

  auto first = keys;
  first.push_back("train.steps=4");
  ASSERT_EQ(run_program(tiny.train("disk/run", first)).status, 0);
  // The log still finds room, a second checkpoint does not.
  const auto free = fs::space(tiny / "disk").available;
  ASSERT_GT(free, 100'000U);
  put(tiny / "disk/other", std::string(free - 50'000, 'x'));
  auto args = tiny.train("disk/run", keys);
  args.insert(args.end(), {"--allow", "train.steps"});
  const ProgramResult full = run_program(args);
  EXPECT_EQ(full.status, 2) << full.err;
  EXPECT_THAT(full.err,
              AllOf(HasSubstr("going on from step 4"), HasSubstr("No space left on device"),
                    HasSubstr("no checkpoint of step 15"),
                    HasSubstr("Earlier checkpoints can still be used")));
  EXPECT_EQ(runs::CheckpointStore(tiny / "disk/run", {}).newest()->step, 4);

  ASSERT_TRUE(disk.grow());
  EXPECT_EQ(run_program(args).status, 0);
}

// Five seconds of a machine that does nothing else; in proportion where programs queue for the
// cores.
std::chrono::duration<double> soon() {
  double load = 0;
  getloadavg(&load, 1);
  return std::chrono::seconds(5) * std::max(1.0, load / std::thread::hardware_concurrency());
}

// A run whose evaluation takes far longer than a step.
TEST(Program, LeavesSoonWhenAskedWhateverItDoes) {
  const TinyProgram tiny;
  for (const int signal : {SIGINT, SIGTERM}) {
    for (const char* busy : {"train", "eval", "sample", "finish"}) {
      const std::string what = busy;
      const std::string out = what + std::to_string(signal);
      std::vector<std::string> set = {"train.steps=1000000", "eval.every=0"};
      if (what == "eval")
        set = {"train.steps=9",   "eval.every=3",   "eval.samples=12", "eval.batch=1",
               "model.width=384", "model.depth=12", "model.heads=6",   "model.patch=1",
               "train.batch=1",   "memory_limit=0"};
      if (what == "sample")
        set = {"train.steps=9", "eval.every=0", "sample.every=3", "sample.steps=100000"};
      if (what == "finish")
        set = {"train.steps=3", "eval.every=0", "sample.every=100", "sample.steps=100000"};
      RunningProgram program(tiny.train(out, set));
      const auto deadline = Clock::now() + std::chrono::seconds(60);
      while (test::last_logged_step(tiny / out) < 3 && Clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      const auto asked = Clock::now();
      program.signal(signal);
      const ProgramResult result = program.wait();
      EXPECT_LT(Clock::now() - asked, soon()) << out;
      EXPECT_EQ(result.status, 130) << out << ": " << result.err;
      EXPECT_THAT(result.err, HasSubstr("the same command goes on from here")) << out;
      const auto newest = runs::CheckpointStore(tiny / out, {}).newest();
      ASSERT_TRUE(newest.has_value()) << out;
      EXPECT_GE(newest->step, 3) << out;
    }
  }
}

TEST(Program, ASecondInterruptLeavesAtOnce) {
  const TinyProgram tiny;
  // One step of this takes seconds.
  RunningProgram program(
      tiny.train("run", {"train.steps=100", "train.batch=40000", "train.accumulate=1",
                         "memory_limit=0", "eval.every=0"}));
  ASSERT_TRUE(program.wait_for("running on cpu"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  program.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto asked = Clock::now();
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().status, 130);
  EXPECT_LT(Clock::now() - asked, std::chrono::milliseconds(500));
}

}  // namespace
}  // namespace gallop::training
