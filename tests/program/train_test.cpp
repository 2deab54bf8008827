#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "gallop/base/cpu.h"
#include "tests/support/program.h"
#include "tests/support/tiny_program.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Every file below a folder with its content.
std::map<std::string, std::string> snapshot(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[entry.path().lexically_relative(folder).string()] = content(entry.path());
    }
  }
  return files;
}

class Train : public testing::Test {
 protected:
  std::vector<std::string> command(const std::string& out,
                                   const std::vector<std::string>& set = {}) const {
    return folder_.train(out, set);
  }

  // One line of error, status 2, and nothing written or changed.
  void expect_refused(const std::vector<std::string>& args, const std::string& text) const {
    const auto before = snapshot(folder_.path());
    const ProgramResult result = run_program(args);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr("gallop: error: "));
    EXPECT_THAT(result.err, HasSubstr(text));
    // Not EXPECT_EQ: it would print all files.
    EXPECT_TRUE(snapshot(folder_.path()) == before) << text;
  }

  // Waits until the run has logged this step; fails if that does not happen.
  void wait_for_step(const RunningProgram& program, const std::string& out, int step) const {
    for (int i = 0; i < 6000; ++i) {
      if (last_logged_step(folder_ / out) >= step) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL() << "step " << step << " was not logged: " << program.err();
  }

  TinyProgram folder_;
};

TEST_F(Train, SaysItsPrecisionAndRefusesOneThatTheCpuDoesNotHave) {
  EXPECT_THAT(run_program(command("run", {"train.steps=2"})).err, HasSubstr("products in float32"));
  const auto features = cpu_info().features;
  if (std::find(features.begin(), features.end(), "avx512_bf16") != features.end()) {
    EXPECT_THAT(run_program(command("other", {"train.precision=bf16"})).err,
                HasSubstr("products in bf16"));
    return;
  }
  expect_refused(command("other", {"train.precision=bf16"}), "this CPU has no avx512_bf16");
  expect_refused({"sample", (folder_ / "run").string(), "--set", "train.precision=bf16"},
                 "--set train.precision=float32");
}

TEST_F(Train, RunsToTheEndAndThenHasNothingToDo) {
  const ProgramResult result = run_program(command("run"));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("parameters: "));
  EXPECT_THAT(result.err, HasSubstr("FLOP a step; memory about "));
  EXPECT_THAT(result.err, HasSubstr("peak memory "));
  const auto after = snapshot(folder_ / "run/checkpoints");
  const ProgramResult again = run_program(command("run"));
  EXPECT_EQ(again.status, 0);
  EXPECT_THAT(again.err, HasSubstr("nothing to do"));
  EXPECT_EQ(snapshot(folder_ / "run/checkpoints"), after);
}

TEST_F(Train, TakesTheNameOfTheRecipeForItsFolder) {
  const ProgramResult result =
      run_program({"train", (folder_ / "tiny.toml").string(), "--set", "train.steps=1"},
                  {.cwd = folder_.path()});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(fs::exists(folder_ / "runs/tiny/config.toml"));
}

// Ctrl-C in the middle, then the same command: the same weights as without.
TEST_F(Train, SavesOnCtrlCAndGoesOn) {
  const std::vector<std::string> long_run = {"train.steps=120", "checkpoint.every=1000",
                                             "eval.every=0"};
  ASSERT_EQ(run_program(command("whole", long_run)).status, 0);

  RunningProgram program(command("run", long_run));
  wait_for_step(program, "run", 5);
  program.signal(SIGINT);
  const ProgramResult stopped = program.wait();
  EXPECT_EQ(stopped.status, 130) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("the same command goes on from here"));

  const ProgramResult resumed = run_program(command("run", long_run));
  EXPECT_EQ(resumed.status, 0);
  EXPECT_THAT(resumed.err, HasSubstr("going on from step "));
  for (const char* file : {"model", "ema", "optimizer"}) {
    const std::string name = std::string("checkpoints/step-00000120/") + file + ".safetensors";
    EXPECT_TRUE(content(folder_ / "run" / name) == content(folder_ / "whole" / name)) << name;
  }
}

TEST_F(Train, GoesOnAfterAKill) {
  const std::vector<std::string> long_run = {"train.steps=100"};
  RunningProgram program(command("run", long_run));
  wait_for_step(program, "run", 12);
  program.signal(SIGKILL);
  program.wait();
  const ProgramResult resumed = run_program(command("run", long_run));
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("going on from step "));
}

TEST_F(Train, CalibratesTheWeightsOfARun) {
  ASSERT_EQ(run_program(command("run", {"train.steps=4"})).status, 0);
  const ProgramResult result =
      run_program({"calibrate", (folder_ / "run").string(), "--batches", "4", "--raw"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("blocks.0.moe.router.threshold: "));
  EXPECT_TRUE(fs::exists(folder_ / "run/model-calibrated.safetensors"));

  ASSERT_EQ(
      run_program(command("dense", {"train.steps=1", "task.model.mlp={kind=\"dense\"}"})).status,
      0);
  const ProgramResult dense = run_program({"calibrate", (folder_ / "dense").string()});
  EXPECT_EQ(dense.status, 2);
  EXPECT_THAT(dense.err, HasSubstr("no thresholds to calibrate"));
}

TEST_F(Train, StartsFromOtherWeights) {
  ASSERT_EQ(run_program(command("first", {"train.steps=2"})).status, 0);
  const std::string weights =
      (folder_ / "first/checkpoints/step-00000002/ema.safetensors").string();
  const ProgramResult tuned =
      run_program(command("tuned", {"train.steps=1", "init.weights=\"" + weights + "\""}));
  EXPECT_EQ(tuned.status, 0) << tuned.err;
  const ProgramResult other =
      run_program(command("other", {"task.model.width=32", "init.weights=\"" + weights + "\""}));
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.err, HasSubstr("reshaped"));
  EXPECT_FALSE(fs::exists(folder_ / "other/config.toml"));
}

TEST_F(Train, RefusesImpossibleSizes) {
  expect_refused(command("run", {"task.model.heads=3"}), "not divisible by model.heads = 3");
  expect_refused(command("run", {"task.model.patch=3"}), "does not divide");
  expect_refused(command("run", {"task.model.mlp.setting=\"5-in-4\""}), "5 active experts of 4");
  expect_refused(command("run", {"task.model.size=\"Q/2\""}), "\"Q/2\" is unknown");
}

TEST_F(Train, RefusesSheetsThatCouldNotBeDrawn) {
  expect_refused(
      command("run", {"sample.every=10", "task.sample.guidance=2", "task.model.label_dropout=0"}),
      "guidance of scale 2 needs a null label");
  expect_refused(command("run", {"sample.every=10", "task.sample.sampler=ddim"}), "ddim");
}

TEST_F(Train, RefusesUnknownKeysAndNamesTheNearest) {
  expect_refused(command("run", {"train.stepz=3"}), "did you mean 'steps'?");
  expect_refused(command("run", {"train.steps=many"}), "train.steps");
  expect_refused(command("run", {"train.steps=0"}), "train.steps");
  expect_refused({"train", (folder_ / "missing.toml").string()}, "missing.toml");
}

TEST_F(Train, RefusesMissingAndDamagedData) {
  expect_refused(command("run", {"task.data.source.path=\"/nowhere\""}), "/nowhere");
  const fs::path images = folder_ / "data/train-images-idx3-ubyte";
  fs::resize_file(images, fs::file_size(images) - 1);
  expect_refused(command("run"), "train-images-idx3-ubyte");
  std::ofstream(images, std::ios::binary) << "no IDX at all, but long enough for a header";
  expect_refused(command("run"), "train-images-idx3-ubyte");
}

// Root may write anywhere, so the folder that cannot be written is one below a file.
TEST_F(Train, RefusesAFolderThatCannotBeWritten) {
  std::ofstream(folder_ / "file") << "x";
  expect_refused(command("file/run"), "file/run");
}

TEST_F(Train, RefusesASecondProcessInTheSameFolder) {
  RunningProgram first(command("run", {"train.steps=100000"}));
  wait_for_step(first, "run", 1);
  const ProgramResult second = run_program(command("run", {"train.steps=100000"}));
  EXPECT_EQ(second.status, 2);
  EXPECT_THAT(second.err, HasSubstr("another process is training"));
}

}  // namespace
}  // namespace gallop::test
