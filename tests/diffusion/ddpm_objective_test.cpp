#include "gallop/diffusion/ddpm_objective.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/diffusion/ddpm_case.h"
#include "tests/support/fixture.h"

namespace gallop::diffusion {
namespace {

using testing::Fixture;
using testing::make_objective;

// A process to train on visits all of its steps.
void leave_out_respaced(const Fixture& fixture) {
  const std::string& respacing = fixture.config().at("respacing").as_string();
  if (!respacing.empty()) testing::leave_out("its process is respaced to " + respacing);
}

REFERENCE_TEST(DdpmProcessCases, LossIsTheHybridOneOfDit, "diffusion/training_losses_mse") {
  leave_out_respaced(fixture);
  const auto objective = testing::ddpm_objective_of(fixture);
  const Noised noised = objective->corrupt(fixture.in("x0"), fixture.in("t"), fixture.in("noise"));
  EXPECT_TRUE(noised.target_BCHW.equal(fixture.in("noise")));
  EXPECT_TRUE(noised.model_time_B.equal(fixture.in("t")));
  const Losses losses = objective->loss(fixture.in("model_output"), noised);
  fixture.expect_close(losses.main_B, "out.learned_mse.loss");
  ASSERT_EQ(losses.parts.size(), 2u);
  EXPECT_EQ(losses.parts[0].first, "mse");
  fixture.expect_close(losses.parts[0].second, "out.learned_mse.mse");
  EXPECT_EQ(losses.parts[1].first, "vb");
  fixture.expect_close(losses.parts[1].second, "out.learned_mse.vb");
}

REFERENCE_TEST(DdpmProcessCases, PredictingTheCleanImageMakesItTheTarget,
               "diffusion/training_losses_mse") {
  leave_out_respaced(fixture);
  const auto objective = make_objective<DdpmSettings>("ddpm", [&](DdpmSettings& s) {
    s.schedule = fixture.config().at("schedule").as_string();
    s.steps = fixture.config().at("T").as_int();
    s.prediction = "x0";
    s.variance = "fixed-small";
  });
  const Noised noised = objective->corrupt(fixture.in("x0"), fixture.in("t"), fixture.in("noise"));
  EXPECT_TRUE(noised.target_BCHW.equal(fixture.in("x0")));
  const Losses losses = objective->loss(noised.target_BCHW, noised);
  EXPECT_EQ(losses.main_B.abs().max().item<double>(), 0);
  ASSERT_EQ(losses.parts.size(), 1u);
  EXPECT_EQ(losses.parts[0].first, "mse");
}

TEST(DdpmObjective, TimesAreStepIndices) {
  const auto objective =
      make_objective<DdpmSettings>("ddpm", [](DdpmSettings& s) { s.steps = 100; });
  const double numbers[] = {0, 0.0099, 0.01, 0.999999999};
  const at::Tensor drawn = objective->draw_time(4, [&](int64_t i) { return numbers[i]; });
  EXPECT_TRUE(drawn.equal(at::tensor({0, 0, 1, 99}, at::kLong)));
  EXPECT_TRUE(objective->spread_time(4).equal(at::tensor({12, 37, 62, 87}, at::kLong)));
  // Even when there are more samples than steps.
  const at::Tensor many = objective->spread_time(1000);
  EXPECT_EQ(many.min().item<int64_t>(), 0);
  EXPECT_EQ(many.max().item<int64_t>(), 99);
  EXPECT_DOUBLE_EQ(objective->noise_level(99), 1);
  EXPECT_DOUBLE_EQ(objective->noise_level(0), 0.01);
}

TEST(DdpmObjective, ALearnedVarianceDoublesTheOutput) {
  const auto channels = [](const char* variance) {
    return make_objective<DdpmSettings>("ddpm", [&](DdpmSettings& s) { s.variance = variance; })
        ->output_channels(4);
  };
  EXPECT_EQ(channels("learned"), 8);
  EXPECT_EQ(channels("fixed-large"), 4);
  EXPECT_EQ(channels("fixed-small"), 4);
}

}  // namespace
}  // namespace gallop::diffusion
