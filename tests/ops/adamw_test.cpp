#include "gallop/ops/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/ops/operator_case.h"
#include "tests/support/errors.h"
#include "tests/support/threads.h"

namespace gallop::ops {
namespace {

using ::gallop::testing::message_of;
using ::gallop::testing::random;
using ::testing::HasSubstr;

// Sizes on both sides of what a task takes, and the values of a few steps.
std::vector<AdamWTensors> tensors(at::ScalarType type, bool averaged) {
  std::vector<AdamWTensors> list;
  for (const int64_t size : {int64_t{1}, int64_t{13}, int64_t{32769}, int64_t{100001}}) {
    const auto made = [&](const std::string& name) {
      return random(name + std::to_string(size), {size}).to(type);
    };
    list.push_back({made("value"), made("gradient"), made("mean"), made("square").square(),
                    averaged ? made("average") : at::Tensor()});
  }
  return list;
}

constexpr AdamWStep kStep{.step = 7,
                          .rate = 1e-2,
                          .beta2 = 0.99,
                          .decay = 0.1,
                          .gradient_scale = 0.3,
                          .average_decay = 0.9};

void expect_close(const at::Tensor& got, const at::Tensor& want) {
  ASSERT_EQ(got.defined(), want.defined());
  if (!want.defined()) return;
  const double largest = std::max(1.0, want.abs().max().item<double>());
  EXPECT_LT(got.to(at::kDouble).sub(want).abs().max().item<double>(), 1e-6 * largest);
}

TEST(AdamWStep, TheKernelIsTheReferenceOfDoublePrecision) {
  for (const bool averaged : {true, false}) {
    const auto fused = tensors(at::kFloat, averaged), wanted = tensors(at::kDouble, averaged);
    adamw_step(fused, kStep);
    adamw_step_reference(wanted, kStep);
    for (size_t i = 0; i < fused.size(); ++i) {
      expect_close(fused[i].value, wanted[i].value);
      expect_close(fused[i].mean, wanted[i].mean);
      expect_close(fused[i].square, wanted[i].square);
      expect_close(fused[i].average, wanted[i].average);
    }
  }
}

TEST(AdamWStep, GivesTheSameBitsForAllThreads) {
  const testing::Threads restored(1);
  std::vector<std::vector<AdamWTensors>> results;
  for (const int threads : {1, 3}) {
    testing::Threads::set(threads);
    results.push_back(tensors(at::kFloat, true));
    adamw_step(results.back(), kStep);
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    EXPECT_TRUE(results[0][i].value.equal(results[1][i].value));
    EXPECT_TRUE(results[0][i].average.equal(results[1][i].average));
  }
}

TEST(AdamWStep, RefusesWhatDoesNotFitTogether) {
  auto list = tensors(at::kFloat, true);
  list[1].mean = list[0].mean;
  EXPECT_THAT(message_of([&] { adamw_step(list, kStep); }), HasSubstr("[13] beside one of [1]"));
  AdamWStep early = kStep;
  early.step = 0;
  EXPECT_THAT(message_of([&] { adamw_step({}, early); }), HasSubstr("count from 1"));
}

}  // namespace
}  // namespace gallop::ops
