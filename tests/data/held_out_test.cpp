#include "gallop/data/held_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gallop::data {
namespace {

using testing::ElementsAre;

TEST(HeldOut, TakesEveryNthFromTheFirst) {
  const HeldOut quarter{.share = 0.25};
  EXPECT_EQ(quarter.every(), 4);
  EXPECT_THAT(quarter.positions(10, "test"), ElementsAre(0, 4, 8));
  EXPECT_THAT(quarter.positions(10, "train"), ElementsAre(1, 2, 3, 5, 6, 7, 9));
}

TEST(HeldOut, LeavesBothSplitsSomethingFromTwoSamplesOn) {
  const HeldOut held_out;
  EXPECT_EQ(held_out.every(), 20);
  EXPECT_THAT(held_out.positions(2, "test"), ElementsAre(0));
  EXPECT_THAT(held_out.positions(2, "train"), ElementsAre(1));
  EXPECT_THAT(held_out.positions(1, "train"), ElementsAre());
}

TEST(HeldOut, SplitsTheDataForEveryShare) {
  for (const double share : {0.5, 0.3, 0.05, 0.001}) {
    const HeldOut held_out{.share = share};
    const auto test = held_out.positions(3000, "test"), train = held_out.positions(3000, "train");
    EXPECT_EQ(test.size() + train.size(), 3000u);
    EXPECT_NEAR(static_cast<double>(test.size()), share * 3000, 0.12 * share * 3000);
  }
}

}  // namespace
}  // namespace gallop::data
