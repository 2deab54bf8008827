#include "gallop/inspection/comparison.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/tensors.h"

namespace gallop::inspection {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::tensor_of;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Comparison, BoundGrowsWithTheExpectedValue) {
  const auto passes = [](float got, float want) {
    return compare("x", tensor_of({got}), tensor_of({want}), 0.5, 0.25).passed();
  };
  EXPECT_TRUE(passes(0.25, 0));
  EXPECT_FALSE(passes(0.5, 0));
  EXPECT_TRUE(passes(-5.25, -4));  // 0.25 + 0.5 * 4 = 2.25
  EXPECT_TRUE(passes(-6.25, -4));
  EXPECT_FALSE(passes(-6.5, -4));
}

TEST(Comparison, ReportsTheLargestErrorAndHowManyFail) {
  const Comparison c = compare("x", tensor_of({1, 2.5f, 3, 8}), tensor_of({1, 2, 3, 4}), 0, 0.25);
  EXPECT_EQ(c.largest_error, 4);
  EXPECT_EQ(c.failures, 2);
  EXPECT_FALSE(c.passed());
}

TEST(Comparison, NaNAndInfinityOnlyWhereExpected) {
  const auto passes = [](float got, float want) {
    return compare("x", tensor_of({got}), tensor_of({want}), 1e9, 1e9).passed();
  };
  EXPECT_TRUE(passes(kNaN, kNaN));
  EXPECT_TRUE(passes(kInfinity, kInfinity));
  EXPECT_FALSE(passes(kNaN, 1));
  EXPECT_FALSE(passes(1, kNaN));
  EXPECT_FALSE(passes(kInfinity, -kInfinity));
  EXPECT_FALSE(passes(1, kInfinity));
  EXPECT_EQ(compare("x", tensor_of({kNaN}), tensor_of({1}), 0, 1).largest_error, kInfinity);
}

TEST(Comparison, IntegersAndMasksMustBeEqual) {
  const at::Tensor mask = tensor_of({1, 0, 1}).to(at::kBool);
  EXPECT_TRUE(compare("mask", mask, tensor_of({1, 0, 1}).to(at::kLong), 0, 10).passed());
  EXPECT_FALSE(compare("mask", mask, tensor_of({1, 1, 1}).to(at::kLong), 0, 10).passed());
}

TEST(Comparison, ShapesMustBeEqual) {
  const Comparison c = compare("x", at::zeros({2, 1}), at::zeros({2}), 0, 1);
  EXPECT_FALSE(c.passed());
  EXPECT_TRUE(compare("x", at::zeros({0, 3}), at::zeros({0, 3}), 0, 0).passed());
}

TEST(ComparisonReport, ListsFailuresFirstAndWhatWasNotProduced) {
  const ComparisonReport report =
      compare_all({{"a", at::ones({2})}, {"b", at::ones({2, 3})}, {"c", at::ones({1})}},
                  {{"a", at::ones({2})}, {"b", at::zeros({2, 3})}, {"d", at::ones({1})}}, 0, 0.5);
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report.not_produced, ElementsAre("d"));
  EXPECT_EQ(report.text(),
            "FAILED  b  largest error 1.00e+00  [2, 3], 6 elements differ\n"
            "ok      a  largest error 0.00e+00  [2]\n"
            "not produced: d\n"
            "1 of 2 agree within 5.0e-01 + 0.0e+00 |expected|\n");
}

TEST(ComparisonReport, NothingComparedIsNoSuccess) {
  const ComparisonReport report = compare_all({{"a", at::ones({2})}}, {}, 0, 1);
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report.text(), HasSubstr("nothing was compared"));
}

}  // namespace
}  // namespace gallop::inspection
