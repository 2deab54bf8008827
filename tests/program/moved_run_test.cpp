// A run is where it lies, whatever its recipe says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/program.h"
#include "tests/support/tiny_program.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class MovedRun : public ::testing::Test {
 protected:
  MovedRun() {
    EXPECT_EQ(run_program(folder_.train("myrun", {"train.steps=4"})).status, 0);
    fs::rename(folder_ / "myrun", folder_ / "moved");
  }
  ProgramResult run(const std::vector<std::string>& args) const {
    return run_program(args, {.cwd = folder_.path()});
  }
  bool reached(const std::string& run, const char* step) const {
    return fs::exists(folder_ / (run + "/checkpoints/step-000000" + step + "/manifest.json"));
  }
  TinyProgram folder_;
};

TEST_F(MovedRun, GoesOnWhereItLies) {
  const ProgramResult by_recipe = run({"train", "moved/config.toml", "--set", "train.steps=6"});
  EXPECT_EQ(by_recipe.status, 0) << by_recipe.err;
  EXPECT_THAT(by_recipe.err,
              AllOf(HasSubstr("going on from step 4"), HasSubstr("the run lies in 'moved'")));
  EXPECT_TRUE(reached("moved", "06"));

  const ProgramResult by_folder = run({"train", "moved/", "--set", "train.steps=8"});
  EXPECT_EQ(by_folder.status, 0) << by_folder.err;
  EXPECT_THAT(by_folder.err, AllOf(HasSubstr("going on from step 6"), Not(HasSubstr("lies in"))));
  EXPECT_TRUE(reached("moved", "08"));

  // From within.
  const ProgramResult inside =
      run_program({"train", "config.toml", "--set", "train.steps=9"}, {.cwd = folder_ / "moved"});
  EXPECT_EQ(inside.status, 0) << inside.err;
  EXPECT_TRUE(reached("moved", "09"));
  EXPECT_FALSE(fs::exists(folder_ / "myrun"));
  EXPECT_FALSE(fs::exists(folder_ / "moved/runs"));
}

TEST_F(MovedRun, WithOutIsAnotherRunOfItsRecipe) {
  for (const auto& [option, value] :
       {std::pair{"--out", "other"}, std::pair{"--set", "out=\"another\""}}) {
    const ProgramResult result = run({"train", "moved", "--set", "train.steps=2", option, value});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("the run in 'moved' stays as it is"),
                                  Not(HasSubstr("going on from"))));
  }
  EXPECT_TRUE(reached("other", "02"));
  EXPECT_TRUE(reached("another", "02"));
  EXPECT_FALSE(reached("moved", "02"));
  const ProgramResult itself =
      run({"train", "moved/config.toml", "--out", "./moved/", "--set", "train.steps=5"});
  EXPECT_EQ(itself.status, 0);
  EXPECT_THAT(itself.err, AllOf(HasSubstr("going on from step 4"), Not(HasSubstr("stays as"))));
}

TEST_F(MovedRun, IsSampledCalibratedAndInspectedByFolderOrRecipe) {
  for (const std::string name : {"moved", "moved/config.toml"}) {
    const ProgramResult sampled =
        run({"sample", name, "--count", "1", "--steps", "2", "--out", "x.npz"});
    EXPECT_EQ(sampled.status, 0) << sampled.err;
    const ProgramResult calibrated = run({"calibrate", name, "--batches", "2"});
    EXPECT_EQ(calibrated.status, 0) << calibrated.err;
    EXPECT_TRUE(fs::remove(folder_ / "moved/ema-calibrated.safetensors")) << name;
    const ProgramResult inspected = run({"inspect", name});
    EXPECT_EQ(inspected.status, 0) << inspected.err;
    EXPECT_THAT(inspected.out, HasSubstr("step        4")) << name;
  }
}

TEST_F(MovedRun, IsNoCheckpointAndNoOtherFolder) {
  const auto expect_refused = [&](const std::string& name, const std::string& why) {
    const ProgramResult result = run({"train", name});
    EXPECT_EQ(result.status, 2) << name;
    EXPECT_THAT(result.err, HasSubstr(why)) << name;
  };
  expect_refused("moved/checkpoints/step-00000004", "belongs to a checkpoint");
  expect_refused("moved/checkpoints/step-00000004/config.toml", "belongs to a checkpoint");
  expect_refused("data", "is a folder without config.toml");
  fs::create_directories(folder_ / "project");
  fs::copy_file(folder_ / "tiny.toml", folder_ / "project/config.toml");
  expect_refused("project", "it is no run");
  EXPECT_FALSE(fs::exists(folder_ / "myrun"));
  // A recipe that happens to have this name is a recipe.
  EXPECT_EQ(run({"train", "project/config.toml", "--set", "train.steps=1"}).status, 0);
  EXPECT_TRUE(reached("runs/config", "01"));
}

// A recipe with a relative path, started from another folder.
TEST_F(MovedRun, SaysWhereRelativePathsBegin) {
  std::ofstream(folder_ / "relative.toml") << "base = \"tiny.toml\"\ndata.source.path = \"data\"\n";
  EXPECT_EQ(run({"train", "relative.toml", "--out", "rel", "--set", "train.steps=1"}).status, 0);
  fs::create_directories(folder_ / "elsewhere");
  const ProgramResult result =
      run_program({"train", (folder_ / "rel").string()}, {.cwd = folder_ / "elsewhere"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("task.data.source.path = \"data\" is looked for from '"),
                                HasSubstr("elsewhere")));
  // The same data by another path are the same data.
  const ProgramResult mended =
      run_program({"train", (folder_ / "rel").string(), "--set", "task.data.source.path=../data"},
                  {.cwd = folder_ / "elsewhere"});
  EXPECT_EQ(mended.status, 0) << mended.err;
}

}  // namespace
}  // namespace gallop::test
