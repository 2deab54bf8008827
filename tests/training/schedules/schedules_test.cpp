#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/config/parse.h"
#include "gallop/config/registry.h"
#include "gallop/training/schedule.h"

namespace gallop::training {
namespace {

struct Choice : config::Fields<Choice> {
  config::Component schedule{"schedule", "constant"};
  void fields(config::Visitor& v) override { v.component("schedule", schedule, "schedule"); }
};

std::unique_ptr<Schedule> schedule(const std::string& toml, int64_t total_steps) {
  Choice choice;
  config::load_text(choice, "schedule = " + toml, "test");
  return config::make<Schedule>(choice.schedule, {total_steps});
}

TEST(Schedules, WarmUpIsALineThatEndsAtOne) {
  for (const char* kind : {"constant", "cosine", "linear"}) {
    const auto s = schedule("{ kind = \"" + std::string(kind) + "\", warmup = 4 }", 100);
    EXPECT_DOUBLE_EQ(s->factor(0), 0.25) << kind;
    EXPECT_DOUBLE_EQ(s->factor(2), 0.75) << kind;
    EXPECT_DOUBLE_EQ(s->factor(3), 1) << kind;
    EXPECT_DOUBLE_EQ(s->factor(4), 1) << kind;
  }
}

TEST(Schedules, ConstantStays) {
  const auto s = schedule("\"constant\"", 100);
  EXPECT_EQ(s->factor(0), 1);
  EXPECT_EQ(s->factor(99), 1);
  EXPECT_EQ(s->factor(1000), 1);
}

TEST(Schedules, CosineFallsToItsEnd) {
  const auto s = schedule("{ kind = \"cosine\", warmup = 20, final = 0.05 }", 120);
  EXPECT_DOUBLE_EQ(s->factor(20), 1);
  EXPECT_NEAR(s->factor(45), 0.05 + 0.95 * (1 + std::sqrt(0.5)) / 2, 1e-12);
  EXPECT_NEAR(s->factor(70), 0.05 + 0.95 * 0.5, 1e-12);
  EXPECT_GT(s->factor(119), 0.05);
  EXPECT_NEAR(s->factor(120), 0.05, 1e-12);
  EXPECT_NEAR(s->factor(500), 0.05, 1e-12);
}

TEST(Schedules, LinearFallsToItsEnd) {
  const auto s = schedule("{ kind = \"linear\", warmup = 20, final = 0.2 }", 120);
  EXPECT_NEAR(s->factor(45), 0.8, 1e-12);
  EXPECT_NEAR(s->factor(95), 0.4, 1e-12);
  EXPECT_NEAR(s->factor(120), 0.2, 1e-12);
  EXPECT_NEAR(s->factor(500), 0.2, 1e-12);
  EXPECT_NEAR(schedule("\"linear\"", 10)->factor(9), 0.1, 1e-12);
}

// A recipe on a tiny budget (--set train.steps=20) keeps its warm-up and must still be usable.
TEST(Schedules, ARunMayEndWithinItsWarmUp) {
  for (const char* kind : {"constant", "cosine", "linear"}) {
    const auto s = schedule("{ kind = \"" + std::string(kind) + "\", warmup = 200 }", 20);
    EXPECT_DOUBLE_EQ(s->factor(19), 0.1) << kind;
    EXPECT_TRUE(std::isfinite(s->factor(200))) << kind;
  }
}

TEST(Schedules, ImpossibleSettingsAreRefused) {
  EXPECT_THROW(schedule("{ kind = \"cosine\", final = 1.5 }", 10), Error);
  EXPECT_THROW(schedule("{ kind = \"linear\", warmup = -1 }", 10), Error);
  EXPECT_THROW(schedule("\"stairs\"", 10), Error);
}

}  // namespace
}  // namespace gallop::training
