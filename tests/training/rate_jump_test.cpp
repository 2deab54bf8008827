#include "gallop/training/rate_jump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/training/trainer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

runs::Recipe recipe(const std::vector<std::string>& overrides) {
  return recipe_in("unused", overrides);
}

const std::vector<std::string> cosine = {"optimizer.lr=1e-3", "train.steps=100",
                                         "schedule={kind=\"cosine\",warmup=0,final=0.05}"};
std::vector<std::string> with(std::string change) {
  auto overrides = cosine;
  overrides.push_back(std::move(change));
  return overrides;
}

// 0.05 + 0.95 * (1 + cos(pi t)) / 2 is 0.0502 at t = 0.99 and 0.525 at t = 1/2.
TEST(RateJump, AFinishedCosineThatIsExtendedSaysFromWhichRateToWhich) {
  EXPECT_THAT(rate_jump(recipe(cosine), recipe(with("train.steps=200")), 100),
              AllOf(HasSubstr("from 5.02e-05 in step 100 to 0.000525 in step 101"),
                    HasSubstr("cosine over 200 steps (before: cosine over 100)")));
}

TEST(RateJump, OtherChangesThatMoveTheRateAreSaid) {
  EXPECT_THAT(rate_jump(recipe(cosine), recipe(with("train.steps=200")), 50),
              HasSubstr("in step 51"));
  EXPECT_THAT(rate_jump(recipe(cosine), recipe(with("optimizer.lr=1e-2")), 50),
              HasSubstr("to 0.00525"));
  EXPECT_THAT(rate_jump(recipe(cosine), recipe(with("schedule=linear")), 99),
              HasSubstr("linear over 100 steps"));
  EXPECT_THAT(rate_jump(recipe(cosine), recipe(with("train.steps=60")), 50),
              AllOf(HasSubstr("to "), Not(HasSubstr("gentler"))));
}

TEST(RateJump, WhatGoesOnIsNoJump) {
  const runs::Recipe before = recipe(cosine);
  for (const int64_t step : {1, 2, 50, 99, 100}) EXPECT_EQ(rate_jump(before, before, step), "");
  EXPECT_EQ(rate_jump(before, recipe(with("train.steps=200")), 0), "") << "nothing was trained";
  EXPECT_EQ(rate_jump(before, recipe(with("optimizer.lr=1.01e-3")), 50), "");
  const auto constant = [](const char* steps) {
    return recipe({"schedule=constant", std::string("train.steps=") + steps});
  };
  EXPECT_EQ(rate_jump(constant("100"), constant("200"), 100), "");
}

TEST(RateJump, IsSaidWhereARunGoesOn) {
  const TemporaryDirectory folder;
  Trainer(recipe_in(folder / "run")).run();
  ::testing::internal::CaptureStderr();
  const Trainer trainer(recipe_in(folder / "run", {"train.steps=24"}));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("the learning rate goes from "), HasSubstr("in step 13")));
}

}  // namespace
}  // namespace gallop::training
