#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gallop/ops/adamw.h"
#include "gallop/ops/kernel.h"
#include "tests/ops/operator_case.h"

namespace gallop::ops {
namespace {

using ::gallop::testing::random;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr AdamWStep kStep{
    .step = 3, .rate = 1e-2, .beta2 = 0.99, .decay = 0.1, .average_decay = 0.9};

AdamWTensors tensors(int64_t size, at::ScalarType type = at::kFloat) {
  const auto made = [&](const char* name) { return random(name, {size}).to(type); };
  return {made("value"), made("gradient"), made("mean"), made("square").square(), made("average")};
}

AdamWTensors copy(const AdamWTensors& t) {
  return {t.value.clone(), t.gradient.clone(), t.mean.clone(), t.square.clone(),
          t.average.defined() ? t.average.clone() : at::Tensor()};
}

bool same(const AdamWTensors& a, const AdamWTensors& b) {
  return a.value.equal(b.value) && a.mean.equal(b.mean) && a.square.equal(b.square) &&
         a.average.equal(b.average);
}

double norm(const AdamWTensors& t) { return t.gradient.norm().item<double>(); }

TEST(AdamWBounds, AStepFindsTheLargestOfWhatItLeaves) {
  for (const int64_t size : {int64_t{1}, int64_t{13}, int64_t{70001}}) {
    const AdamWTensors t = tensors(size), untouched = copy(t);
    const AdamWBounds tried = try_adamw_step(t, kStep);
    EXPECT_TRUE(same(t, untouched)) << "a trial wrote";
    const auto found = adamw_step({t}, kStep);
    ASSERT_TRUE(found.has_value());
    const AdamWBounds now = bounds_of(t);
    EXPECT_EQ(found->weight, now.weight);
    EXPECT_EQ(found->mean, now.mean);
    EXPECT_EQ(found->square, now.square);
    EXPECT_EQ(tried.weight, now.weight);
    EXPECT_EQ(tried.mean, now.mean);
    EXPECT_EQ(tried.square, now.square);
  }
}

// On a device, and in double precision, the reference takes the step: it can be tried as well.
TEST(AdamWBounds, TheReferenceCanBeTried) {
  const AdamWTensors doubles = tensors(50, at::kDouble), floats = tensors(50);
  const AdamWTensors before = copy(doubles), same_before = copy(floats);
  const AdamWBounds tried = try_adamw_step(doubles, kStep);
  EXPECT_TRUE(same(doubles, before));
  EXPECT_FALSE(adamw_step({doubles}, kStep).has_value());
  EXPECT_EQ(tried.weight, bounds_of(doubles).weight);
  {
    const ReferenceGuard reference;
    EXPECT_NEAR(try_adamw_step(floats, kStep).weight, tried.weight, 1e-5);
    EXPECT_TRUE(same(floats, same_before));
  }
}

// Whatever the steps are, arithmetic alone tells that nothing leaves them.
TEST(AdamWBounds, HoldForEveryStep) {
  AdamWTensors t = tensors(1000);
  AdamWBounds bounds = bounds_of(t);
  for (int64_t n = 1; n <= 20; ++n) {
    t.gradient = random("gradient" + std::to_string(n), {1000}).mul(std::pow(10.0, n % 7 - 3));
    AdamWStep step = kStep;
    step.step = n;
    step.rate = std::pow(10.0, n % 5 - 3);
    step.gradient_scale = n % 2 == 0 ? 1 : 0.01;
    bounds = bounds_after(bounds, step, norm(t));
    ASSERT_TRUE(bounds.finite()) << n;
    const AdamWBounds found = adamw_step({t}, step).value();
    EXPECT_LE(found.weight, bounds.weight) << n;
    EXPECT_LE(found.mean, bounds.mean) << n;
    EXPECT_LE(found.square, bounds.square) << n;
  }
}

TEST(AdamWBounds, AreFarFromTheLimitForStepsThatPeopleTake) {
  const AdamWBounds usual{.weight = 1e3, .mean = 10, .square = 100};
  for (const double rate : {1e-5, 1e-3, 0.1, 10.0}) {
    for (const double eps : {1e-15, 1e-8, 1e-6}) {
      AdamWStep step = kStep;
      step.rate = rate;
      step.eps = eps;
      EXPECT_TRUE(bounds_after(usual, step, 1e6).finite()) << rate << " " << eps;
    }
  }
}

// What can go wrong, one number of the step or of the tensors at a time.
TEST(AdamWBounds, AreNotFiniteWhereAResultMayNotBe) {
  struct Case {
    const char* what;
    AdamWStep step;
    AdamWTensors t;
    bool finite;  // of the very numbers below; the bounds must only never say so wrongly
  };
  const auto filled = [](double value, double gradient, double mean, double square,
                         double average) {
    const auto make = [](double x) { return at::full({9}, x); };
    return AdamWTensors{make(value), make(gradient), make(mean), make(square), make(average)};
  };
  const auto with = [](auto change) {
    AdamWStep step = kStep;
    change(step);
    return step;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Case cases[] = {
      {"rate 3e38", with([](auto& s) { s.rate = 3e38, s.step = 1; }), filled(1, 1, 0, 0, 1), false},
      {"rate inf", with([](auto& s) { s.rate = infinity; }), filled(1, 1, 1, 1, 1), false},
      {"rate nan", with([&](auto& s) { s.rate = nan; }), filled(1, 1, 1, 1, 1), false},
      {"eps 0", with([](auto& s) { s.eps = 0, s.step = 1; }), filled(1, 0, 0, 0, 1), false},
      {"eps below float32", with([](auto& s) { s.eps = 1e-60, s.step = 1; }), filled(1, 0, 0, 0, 1),
       false},
      {"gradient 1e25", kStep, filled(1, 1e25, 0, 0, 1), false},  // its square
      {"gradient inf", kStep, filled(1, infinity, 0, 0, 1), false},
      {"scale inf", with([](auto& s) { s.gradient_scale = infinity; }), filled(1, 1, 1, 1, 1),
       false},
      {"decay 1e42", with([](auto& s) { s.decay = 1e42; }), filled(1, 1, 1, 1, 1), false},
      {"a weight at the limit", with([](auto& s) { s.decay = 1e3; }), filled(3e38, 1, 1, 1, 1),
       false},
      {"an average across zero", kStep, filled(3e38, 1, 1, 1, -3e38), false},
      {"a weight that is NaN", kStep, filled(nan, 1, 1, 1, 1), false},
      {"an average that is infinite", kStep, filled(1, 1, 1, 1, infinity), false},
      {"a mean that is NaN", kStep, filled(1, 1, nan, 1, 1), false},
      {"a square that is infinite", kStep, filled(1, 1, 1, infinity, 1), false},
      {"a square below zero", kStep, filled(1, 0, 1, -1, 1), false},
      {"eps 1e-40, all else usual", with([](auto& s) { s.eps = 1e-40; }), filled(1, 1, 1, 1, 1),
       true},
  };
  for (const Case& c : cases) {
    const AdamWBounds bounds = bounds_after(bounds_of(c.t), c.step, norm(c.t));
    const AdamWBounds tried = try_adamw_step(c.t, c.step);
    EXPECT_EQ(tried.finite(), c.finite) << c.what;
    if (!c.finite && std::string(c.what) != "a square below zero") {
      EXPECT_FALSE(bounds.finite()) << c.what;
    }
    {
      const ReferenceGuard reference;
      EXPECT_EQ(try_adamw_step(c.t, c.step).finite(), c.finite) << c.what << ", reference";
    }
    if (c.finite) continue;
    const auto found = adamw_step({copy(c.t)}, c.step);
    EXPECT_FALSE(found.value().finite()) << c.what << ", taken";
  }
}

TEST(AdamWBounds, CoverKeepsANaN) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  AdamWBounds bounds = AdamWBounds::of_nothing();
  EXPECT_TRUE(bounds.finite());
  bounds.cover({.weight = 2, .mean = 1, .square = 3});
  bounds.cover({.weight = 1, .mean = nan, .square = 4});
  bounds.cover({.weight = 1, .mean = 5, .square = 1});
  EXPECT_EQ(bounds.weight, 2);
  EXPECT_EQ(bounds.square, 4);
  EXPECT_TRUE(std::isnan(bounds.mean));
  EXPECT_FALSE(bounds.finite());
}

}  // namespace
}  // namespace gallop::ops
