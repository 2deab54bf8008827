#include "gallop/data/held_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gallop::data {
namespace {

using testing::ElementsAre;

TEST(HeldOut, TakesEveryNthFromTheFirst) {
  const HeldOut quarter{.share = 0.25};
  EXPECT_EQ(quarter.every(), 4);
  const HeldOut::Parts parts = quarter.parts(10);
  EXPECT_THAT(parts.test, ElementsAre(0, 4, 8));
  EXPECT_THAT(parts.train, ElementsAre(1, 2, 3, 5, 6, 7, 9));
  EXPECT_EQ(parts.of("test"), parts.test);
  EXPECT_EQ(parts.of("train"), parts.train);
  EXPECT_EQ(parts.detail(quarter), "1 in 4 held out");
  EXPECT_THAT(parts.notices(), ElementsAre());
}

TEST(HeldOut, LeavesBothSplitsSomethingFromTwoSamplesOn) {
  const HeldOut held_out;
  EXPECT_EQ(held_out.every(), 20);
  EXPECT_THAT(held_out.parts(2).test, ElementsAre(0));
  EXPECT_THAT(held_out.parts(2).train, ElementsAre(1));
}

TEST(HeldOut, TrainsAndTestsOnASingleSample) {
  const HeldOut::Parts parts = HeldOut{}.parts(1);
  EXPECT_THAT(parts.train, ElementsAre(0));
  EXPECT_THAT(parts.test, ElementsAre(0));
  EXPECT_EQ(parts.detail({}), "nothing held out");
  EXPECT_THAT(parts.notices(), ElementsAre(testing::HasSubstr("a single sample")));
  EXPECT_THAT(HeldOut{}.parts(0).train, ElementsAre());
  EXPECT_FALSE(HeldOut{}.parts(0).shared);
}

HeldOut::Parts parts_of(double share, const std::vector<int64_t>& labels) {
  return HeldOut{.share = share}.parts(static_cast<int64_t>(labels.size()),
                                       [&](int64_t i) { return labels[static_cast<size_t>(i)]; });
}

TEST(HeldOut, LeavesEachClassATrainingSample) {
  // 0 is alone, so that 1 goes in its place; 3 has given two and keeps the third, 9 the next.
  const auto parts = parts_of(1.0 / 3, {0, 3, 1, 3, 1, 1, 3, 2, 2});
  EXPECT_THAT(parts.test, ElementsAre(1, 3, 7));
  EXPECT_THAT(parts.train, ElementsAre(0, 2, 4, 5, 6, 8));
  EXPECT_FALSE(parts.shared);
}

TEST(HeldOut, HoldsNothingOutWhereEachClassHasOneSample) {
  const auto parts = parts_of(0.5, {0, 1, 2});
  EXPECT_THAT(parts.train, ElementsAre(0, 1, 2));
  EXPECT_EQ(parts.test, parts.train);
  EXPECT_THAT(parts.notices(), ElementsAre(testing::HasSubstr("each class has a single sample")));
}

TEST(HeldOut, IsEveryNthWhereverThatLeavesEachClassASample) {
  for (const int64_t n : {2, 3, 20}) {
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < 400; ++i) labels.push_back(i * i % 7);  // 0, 1, 4, 2 in turns
    const auto parts = parts_of(1.0 / static_cast<double>(n), labels);
    for (size_t i = 0; i < parts.test.size(); ++i)
      EXPECT_EQ(parts.test[i], static_cast<int64_t>(i) * n);
    EXPECT_EQ(static_cast<int64_t>(parts.test.size()), (400 + n - 1) / n);
  }
}

TEST(HeldOut, TakesTheSmallestShare) {
  const HeldOut least{.share = 1e-300};
  EXPECT_GT(least.every(), 1'000'000'000);
  EXPECT_THAT(least.parts(3).test, ElementsAre(0));
}

TEST(HeldOut, SplitsTheDataForEveryShare) {
  for (const double share : {0.5, 0.3, 0.05, 0.001}) {
    const HeldOut held_out{.share = share};
    const HeldOut::Parts parts = held_out.parts(3000);
    EXPECT_EQ(parts.test.size() + parts.train.size(), 3000u);
    EXPECT_NEAR(static_cast<double>(parts.test.size()), share * 3000, 0.12 * share * 3000);
  }
}

}  // namespace
}  // namespace gallop::data
