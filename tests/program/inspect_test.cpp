#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>

#include "gallop/formats/safetensors.h"
#include "tests/support/idx_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

ProgramResult inspect(const fs::path& path) { return run_program({"inspect", path.string()}); }

TEST(Inspect, AFileOfTensors) {
  const TemporaryDirectory folder;
  const std::array<float, 4> values{1, -2, 3, 0};
  formats::write_safetensors(
      folder / "w.safetensors",
      {{"blocks.0.w", formats::DType::F32, {2, 2}, std::as_bytes(std::span(values))}},
      {{"role", "ema"}, {"step", "70"}, {"threshold", "exact"}, {"note", std::string(5000, 'n')}});
  const ProgramResult result = inspect(folder / "w.safetensors");
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("blocks.0.w  F32   [2, 2]   -2    3   0.5  -\n"),
                    ContainsRegex("weights +EMA of step 70"), ContainsRegex("thresholds +exact"),
                    ContainsRegex("metadata +step = 70"), HasSubstr("(5000 characters)")));
  EXPECT_LT(result.out.size(), 3000);
}

// One short training, looked at whole, then with a damaged checkpoint.
TEST(Inspect, ARunAndItsCheckpoints) {
  const TemporaryDirectory folder;
  write_idx_files(folder / "data", 48, 12);
  std::ofstream(folder / "tiny.toml")
      << "task.data.source = { kind = \"idx\", path = \"" << (folder / "data").string() << R"(" }
threads = 1
task.kind = "image-generation"
task.objective = "flow"
train = { steps = 6, batch = 6 }
eval = { every = 3, samples = 12, batch = 12 }
sample = { every = 0 }
checkpoint = { every = 3 }
log = { every = 1, tensorboard = false }

[task.model]
kind = "dit"
depth = 1
width = 16
heads = 2
patch = 2
mlp = { kind = "moe", setting = "2-in-4" }
)";
  const fs::path run = folder / "run";
  const ProgramResult trained =
      run_program({"train", (folder / "tiny.toml").string(), "--out", run.string()});
  ASSERT_EQ(trained.status, 0) << trained.err;

  ProgramResult result = inspect(run);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out,
              AllOf(ContainsRegex("step +6\n"), ContainsRegex("weights +EMA .* of step 6"),
                    ContainsRegex("thresholds +exact"), ContainsRegex("recipe +tiny, seed 0"),
                    HasSubstr("depth=1"), HasSubstr("steps=6, batch=6"),
                    ContainsRegex("last train +step 6: .*loss "),
                    ContainsRegex("last eval +step 6: "), ContainsRegex("\\(step[ \n]+2\\)"),
                    ContainsRegex("\\(step[ \n]+6\\)"), Not(ContainsRegex("\\(step[ \n]+1\\)"))));
  EXPECT_THAT(result.out, AllOf(ContainsRegex("checkpoints +step-00000006, .*, verified\n"),
                                ContainsRegex(" step-00000003, .*, verified\n"),
                                ContainsRegex("parameters +[0-9.]+k, [0-9.]+k of them active")));

  const fs::path older = run / "checkpoints" / "step-00000003";
  result = inspect(older);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(ContainsRegex("step +3\n"), HasSubstr("applied 3"),
                                ContainsRegex("thresholds +moving average")));

  const fs::path newest = run / "checkpoints" / "step-00000006";
  fs::resize_file(newest / "optimizer.safetensors", 50);
  result = inspect(run);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(ContainsRegex("step +3\n"), HasSubstr("DAMAGED:"),
                                HasSubstr("optimizer.safetensors")));
  result = inspect(newest);
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("optimizer.safetensors"));

  // Of another version of the program: the rest is shown all the same.
  std::ofstream(run / "config.toml") << "unknown_key = 1\n";
  result = inspect(run);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("cannot be read"), HasSubstr("unknown_key"),
                                ContainsRegex("step +3\n")));
}

TEST(Inspect, WhatIsNoRunIsNamed) {
  const TemporaryDirectory folder;
  ProgramResult result = inspect(folder.path());
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("neither a run"));
  EXPECT_EQ(inspect(folder / "nowhere").status, 2);
  std::ofstream(folder / "w.safetensors") << "no tensors";
  result = inspect(folder / "w.safetensors");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("gallop: error: "), HasSubstr("w.safetensors")));
  EXPECT_EQ(run_program({"inspect"}).status, 2);
}

}  // namespace
}  // namespace gallop::test
