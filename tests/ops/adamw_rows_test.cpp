#include "gallop/ops/adamw_rows.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gallop/ops/kernel.h"
#include "tests/ops/operator_case.h"
#include "tests/support/errors.h"
#include "tests/support/threads.h"

namespace gallop::ops {
namespace {

using ::gallop::testing::message_of;
using ::gallop::testing::random;
using ::testing::HasSubstr;

constexpr AdamWStep kStep{.step = 7,
                          .rate = 1e-2,
                          .beta2 = 0.99,
                          .decay = 0.1,
                          .gradient_scale = 0.3,
                          .average_decay = 0.9};
constexpr double kClock = 2.5;

// Every third of `size` rows is touched.
AdamWRows table(int64_t size, int64_t width, at::ScalarType type = at::kFloat,
                bool averaged = true) {
  const auto made = [&](const char* name) { return random(name, {size, width}).to(type); };
  const at::Tensor rows = at::arange(1, size, 3, at::kLong);
  AdamWRows t{.value = made("value"),
              .mean = made("mean"),
              .square = made("square").square(),
              .rows = rows,
              .gradient = random("gradient", {rows.size(0), width}).to(type),
              .gap = at::Tensor(),
              .clock = at::Tensor()};
  if (!averaged) return t;
  t.gap = made("gap");
  t.clock = random("clock", {size}).abs().to(at::kDouble).clamp_max(kClock);
  return t;
}

AdamWRows copy(const AdamWRows& t) {
  AdamWRows result = t;
  for (at::Tensor* x : {&result.value, &result.mean, &result.square, &result.gradient, &result.gap,
                        &result.clock}) {
    if (x->defined()) *x = x->clone();
  }
  return result;
}

void expect_same(const AdamWRows& a, const AdamWRows& b) {
  EXPECT_TRUE(a.value.equal(b.value) && a.mean.equal(b.mean) && a.square.equal(b.square));
  if (!a.gap.defined()) return;
  EXPECT_TRUE(a.gap.equal(b.gap) && a.clock.equal(b.clock));
}

void expect_close(const at::Tensor& got, const at::Tensor& want) {
  ASSERT_EQ(got.defined(), want.defined());
  if (!want.defined() || want.numel() == 0) return;
  const double largest = std::max(1.0, want.abs().max().item<double>());
  EXPECT_LT(got.to(at::kDouble).sub(want).abs().max().item<double>(), 2e-6 * largest);
}

TEST(AdamWRows, TheKernelIsTheReferenceOfDoublePrecision) {
  for (const bool averaged : {true, false}) {
    for (const auto& [size, width] : {std::pair{2, 1}, {5, 3}, {3001, 32}, {40, 700}}) {
      const AdamWRows fused = table(size, width, at::kFloat, averaged),
                      wanted = table(size, width, at::kDouble, averaged);
      const AdamWRows before = copy(fused);
      ASSERT_TRUE(adamw_rows_step(fused, kStep, kClock).has_value());
      adamw_rows_step_reference(wanted, kStep, kClock);
      expect_close(fused.value, wanted.value);
      expect_close(fused.mean, wanted.mean);
      expect_close(fused.square, wanted.square);
      expect_close(fused.gap, wanted.gap);
      expect_close(fused.clock, wanted.clock);
      // The others are as they were, to the bit.
      for (int64_t row = 0; row < size; row += 3) {
        EXPECT_TRUE(fused.value[row].equal(before.value[row]));
        EXPECT_TRUE(fused.mean[row].equal(before.mean[row]));
      }
    }
  }
}

// All rows touched: the very step of a dense tensor, and its average.
TEST(AdamWRows, OfAllRowsAreADenseStep) {
  AdamWRows t = table(300, 32);
  t.rows = at::arange(300, at::kLong);
  t.gradient = random("all", {300, 32});
  t.clock.fill_(kClock);  // touched by the step before
  const AdamWTensors dense{t.value.clone(), t.gradient.clone(), t.mean.clone(), t.square.clone(),
                           t.value + t.gap};
  const auto found = adamw_rows_step(t, kStep, kClock);
  adamw_step({dense}, kStep);
  expect_close(t.value, dense.value.to(at::kDouble));
  expect_close(t.mean, dense.mean.to(at::kDouble));
  expect_close(t.square, dense.square.to(at::kDouble));
  expect_close(t.value + t.gap, dense.average.to(at::kDouble));
  EXPECT_EQ(found->mean, bounds_of(t).mean);
}

TEST(AdamWRows, GiveTheSameBitsForAllThreads) {
  const testing::Threads restored(1);
  const AdamWRows one = table(9000, 32), three = table(9000, 32);
  const at::Tensor average = at::empty_like(one.value), other = at::empty_like(one.value);
  adamw_rows_step(one, kStep, kClock);
  write_average(one, kClock + 1, average);
  testing::Threads::set(3);
  adamw_rows_step(three, kStep, kClock);
  write_average(three, kClock + 1, other);
  expect_same(one, three);
  EXPECT_TRUE(average.equal(other));
}

TEST(AdamWRows, AreTriedWithoutAChange) {
  const AdamWRows t = table(2000, 8), before = copy(t);
  const AdamWBounds tried = try_adamw_rows_step(t, kStep, kClock);
  expect_same(t, before);
  const auto found = adamw_rows_step(t, kStep, kClock);
  EXPECT_EQ(found->weight, tried.weight);
  EXPECT_EQ(found->mean, tried.mean);
  EXPECT_EQ(found->square, tried.square);
  EXPECT_LE(tried.square, bounds_of(t).square);
  const AdamWRows doubles = table(50, 4, at::kDouble), same = copy(doubles);
  EXPECT_TRUE(try_adamw_rows_step(doubles, kStep, kClock).finite());
  expect_same(doubles, same);
}

TEST(AdamWRows, TellWhatIsNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const bool reference : {false, true}) {
    std::optional<ReferenceGuard> guard;
    if (reference) guard.emplace();
    const auto finite = [](const auto& change) {
      const AdamWRows t = table(10, 4);
      change(t);
      return try_adamw_rows_step(t, kStep, kClock).finite();
    };
    EXPECT_TRUE(finite([](const AdamWRows&) {}));
    EXPECT_TRUE(finite([&](const AdamWRows& t) { t.value[0].fill_(nan); })) << "not touched";
    EXPECT_FALSE(finite([&](const AdamWRows& t) { t.value[1].fill_(nan); }));
    EXPECT_FALSE(finite([&](const AdamWRows& t) { t.gap[4].fill_(nan); }));
    EXPECT_FALSE(finite([](const AdamWRows& t) { t.gradient[0].fill_(1e25); }));
    const AdamWRows t = table(10, 4);
    t.gap[0].fill_(nan);
    EXPECT_FALSE(bounds_of(t).finite()) << "of the whole table";
  }
}

TEST(AdamWRows, OfNoneAreNone) {
  AdamWRows t = table(10, 4);
  t.rows = at::zeros({0}, at::kLong);
  t.gradient = at::zeros({0, 4});
  const AdamWRows before = copy(t);
  EXPECT_EQ(adamw_rows_step(t, kStep, kClock)->weight, 0);
  adamw_rows_step_reference(t, kStep, kClock);
  expect_same(t, before);
}

TEST(AdamWRows, RefuseWhatDoesNotFitTogether) {
  const auto error = [](const auto& change) {
    AdamWRows t = table(10, 4);
    change(t);
    return message_of([&] { adamw_rows_step(t, kStep, kClock); });
  };
  const auto rows = [](std::initializer_list<int64_t> r) {
    return at::tensor(std::vector<int64_t>(r), at::kLong);
  };
  EXPECT_THAT(error([&](AdamWRows& t) { t.rows = rows({1, 4, 4}); }), HasSubstr("row 4 after 4"));
  EXPECT_THAT(error([&](AdamWRows& t) { t.rows = rows({1, 4, 10}); }), HasSubstr("table of 10"));
  EXPECT_THAT(error([&](AdamWRows& t) { t.rows = rows({-1, 4, 7}); }), HasSubstr("row -1"));
  EXPECT_THAT(error([&](AdamWRows& t) { t.rows = rows({1, 4}); }), HasSubstr("[3, 4] for rows of"));
  EXPECT_THAT(error([&](AdamWRows& t) { t.clock = t.clock.to(at::kFloat); }), HasSubstr("float64"));
  EXPECT_THAT(error([&](AdamWRows& t) { t.mean = at::zeros({9, 4}); }), HasSubstr("[9, 4]"));
}

// A decay of 0 forgets all that was, and later steps still count.
TEST(AverageClock, TellsTheProductOfDecays) {
  double clock = 0, product = 1;
  for (const double decay : {0.1, 0.5, 0.9, 0.9999, 1.0}) {
    clock = clock_after(clock, decay);
    product *= decay;
    EXPECT_NEAR(std::exp(-clock), product, 1e-12);
  }
  const double after = clock_after(clock, 0);
  EXPECT_TRUE(std::isfinite(after));
  EXPECT_EQ(static_cast<float>(std::exp(clock - after)), 0);
  EXPECT_NEAR(std::exp(after - clock_after(after, 0.99)), 0.99, 1e-12);
}

}  // namespace
}  // namespace gallop::ops
