// The moving average and what is left in it of the values that the run began with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/file.h"
#include "gallop/config/parse.h"
#include "gallop/config/print.h"
#include "gallop/runs/restore.h"
#include "gallop/runs/young_average.h"
#include "gallop/training/trainer.h"
#include "tests/support/paths.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::runs {
namespace {

using training::expect_equal_weights;
using training::recipe_in;
using training::Trainer;

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

EmaConfig ema(double decay, bool warmup) {
  EmaConfig config;
  config.decay = decay;
  config.warmup = warmup;
  return config;
}

TEST(YoungAverage, WarmsUpUnlessToldNotTo) {
  const EmaConfig config;
  EXPECT_TRUE(config.warmup);
  EXPECT_DOUBLE_EQ(config.decay_at(0), 0.1);
}

TEST(YoungAverage, HoldsTheProductOfTheDecays) {
  EXPECT_EQ(first_values_share(ema(0.999, true), 0), 1);
  EXPECT_NEAR(first_values_share(ema(0.999, false), 400), std::pow(0.999, 400), 1e-12);
  // 1/10 * 2/11 * 3/12
  EXPECT_NEAR(first_values_share(ema(0.999, true), 3), 6.0 / 1320, 1e-15);
  EXPECT_EQ(first_values_share(ema(1, false), 1000), 1);
  EXPECT_LT(first_values_share(ema(0.9999, true), 100), 1e-6);
}

TEST(YoungAverage, IsToldFromTenPercentOn) {
  EXPECT_EQ(young_average(0), "");
  EXPECT_EQ(young_average(0.1), "");
  EXPECT_THAT(young_average(0.67), AllOf(HasSubstr("67 %"), HasSubstr("ema.warmup")));
  EXPECT_THAT(young_average(1), HasSubstr("100 %"));
}

TEST(YoungAverage, IsReadFromMetadataOrWorkedOut) {
  const EmaConfig constant = ema(0.99, false);
  EXPECT_EQ(first_values_share({{"role", "model"}, {"step", "5"}}, constant), std::nullopt);
  EXPECT_EQ(first_values_share({{"role", "ema"}}, constant), std::nullopt);
  EXPECT_EQ(first_values_share({{"role", "ema"}, {"step", "x"}}, constant), std::nullopt);
  EXPECT_NEAR(first_values_share({{"role", "ema"}, {"step", "50"}}, constant).value(),
              std::pow(0.99, 50), 1e-12);
  const double share = std::pow(0.99, 7) / 3;
  EXPECT_EQ(
      first_values_share(
          {{"role", "ema"}, {"step", "50"}, {"first_values", share_to_metadata(share)}}, constant),
      share);
}

// A run of few steps with a constant decay says so where it evaluates, and where it is used.
TEST(YoungAverage, IsSaidByTheRunAndByWhoReadsIt) {
  const TemporaryDirectory folder;
  const auto run = [&](const char* name, const std::string& ema_table) {
    ::testing::internal::CaptureStderr();
    Trainer(recipe_in(folder / name, {ema_table})).run();
    restore(folder / name);
    return ::testing::internal::GetCapturedStderr();
  };
  const std::string young = run("young", "ema={decay=0.99,warmup=false}");
  EXPECT_THAT(young, AllOf(HasSubstr("step 4: the average (EMA) still holds 96 %"),
                           HasSubstr("step 12: the average (EMA) still holds 89 %"),
                           HasSubstr("ema.safetensors: the average (EMA) still holds 89 %")));
  EXPECT_THAT(run("old", "ema={decay=0.99,warmup=true}"), Not(HasSubstr("still holds")));
  ::testing::internal::CaptureStderr();
  restore(folder / "young", false);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("still holds")));
}

// The share goes on over a stop, to the bit, and without its metadata is worked out.
TEST(YoungAverage, GoesOnWithTheRun) {
  const TemporaryDirectory folder;
  const std::vector<std::string> constant = {"ema={decay=0.99,warmup=false}"};
  Trainer whole(recipe_in(folder / "whole", constant));
  whole.run();
  Trainer(recipe_in(folder / "run", constant)).run(5);
  Trainer resumed(recipe_in(folder / "run", constant));
  resumed.run();
  EXPECT_EQ(resumed.snapshot().ema_metadata, whole.snapshot().ema_metadata);
  EXPECT_NEAR(std::stod(whole.snapshot().ema_metadata.at("first_values")), std::pow(0.99, 12),
              1e-12);
  EXPECT_EQ(whole.snapshot().model_metadata.count("first_values"), 0U);
}

// A run that began when the default was false keeps its bits under a recipe that says nothing.
TEST(YoungAverage, ARunGoesOnAsItBegan) {
  const TemporaryDirectory folder;
  Trainer whole(recipe_in(folder / "whole", {"ema.warmup=false"}));
  whole.run();
  Trainer(recipe_in(folder / "run", {"ema.warmup=false"})).run(5);
  // The tiny recipe has a warm-up.
  Trainer resumed(recipe_in(folder / "run"));
  resumed.run();
  expect_equal_weights(resumed.average(), whole.average());
  EXPECT_THAT(read_file(folder / "run/config.toml"), HasSubstr("warmup = false"));

  Trainer(recipe_in(folder / "other", {"ema.warmup=false"})).run(5);
  Trainer allowed(recipe_in(folder / "other"), {"ema.warmup"});
  allowed.run();
  EXPECT_FALSE(allowed.average()
                   .find_parameter("x_embedder.proj.weight")
                   ->operator*()
                   .equal(**whole.average().find_parameter("x_embedder.proj.weight")));
  EXPECT_THAT(read_file(folder / "other/config.toml"), HasSubstr("warmup = true"));
}

// What the kept recipes had when the default was false.
TEST(YoungAverage, OfTheKeptRecipesIsAsItWas) {
  const std::filesystem::path recipes = std::filesystem::path(GALLOP_SOURCE_DIR) / "recipes";
  int64_t found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(recipes)) {
    if (entry.path().extension() != ".toml") continue;
    const Recipe recipe = load_recipe(entry.path().string(), {});
    const bool fashion = entry.path().filename() == "fashion-mnist.toml";
    EXPECT_EQ(recipe.ema.warmup, fashion) << entry.path();
    EXPECT_EQ(recipe.ema.decay, fashion ? 0.999 : 0.9999) << entry.path();
    ++found;
  }
  EXPECT_GE(found, 14);
}

}  // namespace
}  // namespace gallop::runs
