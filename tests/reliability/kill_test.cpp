#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <thread>

#include "gallop/base/file.h"
#include "gallop/runs/checkpoint.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/program.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_program.h"

namespace gallop::training {
namespace {

using test::FailingFileSystem;
using test::last_logged_step;
using test::ProgramResult;
using test::run_program;
using test::RunningProgram;
using test::TemporaryDirectory;
using test::TinyProgram;

// Ends the process at call n, as a kill from outside would.
class DeadlyFileSystem : public FailingFileSystem {
 public:
  explicit DeadlyFileSystem(size_t n) : FailingFileSystem(Fault::power_cut, n) {}
  ~DeadlyFileSystem() override = default;

 protected:
  void faulted() override { raise(SIGKILL); }
};

// Saves in a process that is killed at call n of `calls`; false if it came to its end.
bool killed_at(size_t n, runs::CheckpointStore& store, const runs::Snapshot& snapshot) {
  const pid_t child = fork();
  if (child == 0) {
    DeadlyFileSystem files(n);
    const auto guard = replace_file_system(files);
    store.save(snapshot, recipe_of_step(snapshot.step));
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST(Kill, AtEveryCallOfASave) {
  const runs::Snapshot first = snapshot_of(10), second = snapshot_of(20);
  size_t n = 0;
  for (;; ++n) {
    const TemporaryDirectory run;
    runs::CheckpointStore store(run.path(), keeping(1));
    store.save(first, recipe_of_step(10));
    if (!killed_at(n, store, second)) break;
    const auto newest = store.newest();
    ASSERT_TRUE(newest.has_value()) << "killed at call " << n;
    const runs::Snapshot found = runs::CheckpointStore::load(newest->path);
    ASSERT_TRUE(equal(found, first) || equal(found, second)) << "killed at call " << n;
    store.save(snapshot_of(30), recipe_of_step(30));
    ASSERT_TRUE(equal(runs::CheckpointStore::load(store.newest()->path), snapshot_of(30)));
    ASSERT_EQ(names_in(run / "checkpoints").size(), 1U) << "killed at call " << n;
  }
  EXPECT_GT(n, 30U);
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// One training, killed again and again at random moments, start-up and saves included.
void expect_to_survive(int rounds, uint32_t seed) {
  constexpr int64_t every = 4;
  const TinyProgram folder;
  const auto command = [&](const std::string& out, int64_t steps, bool background) {
    auto args = folder.train(
        out, {"train.steps=" + std::to_string(steps), "eval.every=0", "schedule=constant",
              "log.tensorboard=false", "checkpoint.every=" + std::to_string(every),
              std::string("checkpoint.background_save=") + (background ? "true" : "false")});
    // These are no part of what the state means, and change from round to round.
    args.insert(args.end(), {"--allow", "train.steps", "--allow", "checkpoint.background_save"});
    return args;
  };
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> wait(0, 350);
  const runs::CheckpointStore store(folder / "run", {});
  int64_t before = 0, moved = 0;
  for (int round = 0; round < rounds; ++round) {
    const bool background = round % 2 == 0;
    const double began = unix_seconds();
    RunningProgram program(command("run", 1000000, background));
    // A third of the rounds ends in the start-up, the others after the first steps.
    if (round % 3 != 0) {
      ASSERT_TRUE(program.wait_for("running on cpu")) << program.err();
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while (last_logged_step(folder / "run", began) <= before &&
             std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(wait(random)));
    program.signal(SIGKILL);
    const ProgramResult killed = program.wait();
    ASSERT_EQ(killed.status, 128 + SIGKILL) << "round " << round << ": " << killed.err;
    const int64_t logged = last_logged_step(folder / "run", began);
    const auto newest = store.newest();
    const int64_t saved = newest ? newest->step : 0;
    ASSERT_GE(saved, before) << "round " << round;
    // In the background the save of the last interval may still have been under way.
    ASSERT_LE(logged - saved, background ? 2 * every : every) << "round " << round;
    moved += saved > before ? 1 : 0;
    before = saved;
  }
  EXPECT_GT(moved, rounds / 3) << "the rounds were too short to test anything";

  const int64_t end = before + 3;
  const ProgramResult last = run_program(command("run", end, true));
  ASSERT_EQ(last.status, 0) << last.err;
  ASSERT_EQ(run_program(command("whole", end, true)).status, 0);
  const std::string name = runs::CheckpointStore(folder / "whole", {}).newest()->path.filename();
  for (const char* file : {"model", "ema", "optimizer"}) {
    const std::string path = "checkpoints/" + name + "/" + file + ".safetensors";
    EXPECT_TRUE(read_file(folder / "run" / path) == read_file(folder / "whole" / path)) << path;
  }
}

TEST(Kill, FiftyTimesAtRandom) { expect_to_survive(50, 1); }

TEST(Kill, LongFiveHundredTimesAtRandom) { expect_to_survive(500, 2); }

}  // namespace
}  // namespace gallop::training
