// What the program says before it starts, against what it needed: recipes of six kinds, made as
// large as a model has to be for its part of the memory to be most of it.
#include <gtest/gtest.h>

#include <iostream>
#include <regex>

#include "tests/support/idx_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

// "1.52 GiB" behind `label`.
double mib_behind(const std::string& text, const std::string& label) {
  const std::regex pattern(label + " ([0-9.]+) (KiB|MiB|GiB)");
  std::smatch found;
  if (!std::regex_search(text, found, pattern)) {
    ADD_FAILURE() << "no '" << label << "' in:\n" << text;
    return 0;
  }
  const double number = std::stod(found[1]);
  return found[2] == "GiB" ? number * 1024 : found[2] == "KiB" ? number / 1024 : number;
}

struct Case {
  const char* name;
  const char* recipe;
  std::vector<std::string> set;
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class LongEstimate : public ::testing::TestWithParam<Case> {};

TEST_P(LongEstimate, IsThePeakWithin15Percent) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer keeps what is freed";
#endif
  const TemporaryDirectory folder;
  write_idx_files(folder / "data", 600, 400, /*side=*/28, /*classes=*/10);
  std::vector<std::string> args = {"train",
                                   std::string(GALLOP_SOURCE_DIR) + "/" + GetParam().recipe,
                                   "--out", (folder / "run").string()};
  std::vector<std::string> set = {"data.source.path=\"" + (folder / "data").string() + "\"",
                                  "threads=1",
                                  "train.steps=3",
                                  "schedule.warmup=0",
                                  "sample.every=0",
                                  "checkpoint.every=100",
                                  "log.tensorboard=false"};
  set.insert(set.end(), GetParam().set.begin(), GetParam().set.end());
  for (const std::string& change : set) args.insert(args.end(), {"--set", change});
  const ProgramResult result = run_program(args, {.timeout = std::chrono::minutes(10)});
  ASSERT_EQ(result.status, 0) << result.err;
  const double said = mib_behind(result.err, "memory about"),
               needed = mib_behind(result.err, "peak memory");
  RecordProperty("said", static_cast<int>(said));
  RecordProperty("needed", static_cast<int>(needed));
  std::cout << GetParam().name << ": said " << said << " MiB, needed " << needed << " MiB\n";
  EXPECT_GT(needed, 500) << "the program alone takes a third of this";
  EXPECT_NEAR(said / needed, 1, 0.15);
}

const std::vector<std::string> activations = {"eval.every=0", "model.width=64", "model.heads=4",
                                              "model.patch=2", "model.depth=4"};

std::vector<std::string> with(std::vector<std::string> set, const std::vector<std::string>& more) {
  set.insert(set.end(), more.begin(), more.end());
  return set;
}

INSTANTIATE_TEST_SUITE_P(
    Recipes, LongEstimate,
    ::testing::Values(
        Case{"dense", "recipes/dit/fashion-mnist.toml", with(activations, {"train.batch=96"})},
        Case{"race", "recipes/race-dit/fashion-mnist.toml", with(activations, {"train.batch=96"})},
        Case{"gated_and_shared", "recipes/dit-moe/fashion-mnist.toml",
             with(activations, {"train.batch=48"})},
        Case{"heads", "recipes/moh/fashion-mnist.toml", with(activations, {"train.batch=96"})},
        // Weights and the copy of background saves.
        Case{"many_experts_saved",
             "recipes/ec-dit/fashion-mnist.toml",
             {"eval.every=0", "model.width=256", "model.depth=4", "model.patch=7", "train.batch=4",
              "model.mlp.setting=2-in-32", "model.mlp.hidden=256", "checkpoint.every=1"}},
        // A large evaluation beside small batches.
        Case{"evaluated",
             "recipes/diffmoe/fashion-mnist.toml",
             {"model.width=64", "model.heads=4", "model.patch=2", "model.depth=4", "train.batch=4",
              "eval.every=1", "eval.samples=400", "eval.batch=400"}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gallop::test
