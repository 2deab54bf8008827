#include "gallop/compute/dial_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "gallop/base/error.h"

namespace gallop::compute {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

// The loss between two candidates.
double loss_at(const std::vector<double>& x, const std::vector<double>& y, double at) {
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    if (at <= x[i + 1]) return y[i] + (y[i + 1] - y[i]) * (at - x[i]) / (x[i + 1] - x[i]);
  }
  return y.back();
}

const std::vector<LossCurve> three = {{{1, 2}, {1, 0.5}}, {{1, 2}, {1, 0.75}}, {{1, 2}, {1, 1}}};

TEST(ShareBudget, GoesWhereTheLossFallsMost) {
  // The first range gains 0.5 an expert, the second 0.25, the third nothing.
  EXPECT_THAT(share_budget(three, 4.0 / 3), ElementsAre(DoubleEq(2), DoubleEq(1), DoubleEq(1)));
  // What nobody gains from is left over.
  EXPECT_THAT(share_budget(three, 2), ElementsAre(DoubleEq(2), DoubleEq(2), DoubleEq(1)));
  // Half of an expert is left for the second.
  EXPECT_THAT(share_budget(three, 1.5), ElementsAre(DoubleEq(2), DoubleEq(1.5), DoubleEq(1)));
}

TEST(ShareBudget, TakesTheHullOfLossesThatDoNotFallEvenly) {
  // From 1 to 2 nothing, from 2 to 3 a lot: on the hull it is half of that each.
  EXPECT_THAT(share_budget({{{1, 2, 3}, {1, 1, 0}}, {{1, 2, 3}, {1, 0.6, 0.3}}}, 2),
              ElementsAre(DoubleEq(3), DoubleEq(1)));
}

// Against all ways to cut the budget in steps of 1/8, for convex losses.
TEST(ShareBudget, IsTheBestOfAllWays) {
  const std::vector<double> x = {0.5, 1, 2, 4};
  std::vector<std::vector<double>> losses;
  for (const double scale : {1.0, 0.3, 2.0}) {
    losses.emplace_back();
    for (const double k : x) losses.back().push_back(scale * std::exp(-k));
  }
  const auto total = [&](const std::vector<double>& active) {
    double sum = 0;
    for (size_t r = 0; r < 3; ++r) sum += loss_at(x, losses[r], active[r]);
    return sum;
  };
  for (const double budget : {0.5, 1.0, 1.75, 3.0}) {
    const std::vector<double> found =
        share_budget({{x, losses[0]}, {x, losses[1]}, {x, losses[2]}}, budget);
    EXPECT_LE(std::accumulate(found.begin(), found.end(), 0.0), 3 * budget + 1e-12);
    for (double a = 0.5; a <= 4; a += 0.125) {
      for (double b = 0.5; b <= 4; b += 0.125) {
        const double c = std::min(3 * budget - a - b, 4.0);
        if (c < 0.5) continue;
        EXPECT_LE(total(found), total({a, b, c}) + 1e-12);
      }
    }
  }
}

TEST(ShareBudget, RefusesWhatDoesNotFit) {
  EXPECT_THROW(share_budget({{{1, 2}, {1, 0}}}, 0.5), Error);
  EXPECT_THROW(share_budget({{{2, 1}, {1, 0}}}, 3), Error);
  EXPECT_THROW(share_budget({{{1, 2}, {1, 0, 3}}}, 1), Error);
  EXPECT_THROW(share_budget({{}}, 1), Error);
}

// Ranges need not use the same with the same thresholds, and two candidates may use the same.
TEST(ShareBudget, TakesACurveForEachRange) {
  EXPECT_THAT(share_budget({{{1, 3}, {1, 0}}, {{0.5, 0.5, 1.5}, {1, 1, 0.9}}}, 1.75),
              ElementsAre(DoubleEq(3), DoubleEq(0.5)));
}

}  // namespace
}  // namespace gallop::compute
