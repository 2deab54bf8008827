#include "gallop/runs/spikes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/errors.h"

namespace gallop::runs {
namespace {

using ::gallop::testing::message_of;
using ::testing::HasSubstr;

constexpr auto length = static_cast<int>(SpikeWindow::length);

/// Half of the values -1, half 1: mean 0, deviation 1.
SpikeWindow alternating() {
  SpikeWindow window;
  for (int i = 0; i < length; ++i) window.add(i % 2 == 0 ? -1 : 1);
  return window;
}

TEST(SpikeWindow, GivesTheZScore) {
  EXPECT_DOUBLE_EQ(alternating().z_score(6), 6);
  EXPECT_DOUBLE_EQ(alternating().z_score(-3), -3);
  EXPECT_DOUBLE_EQ(alternating().mean(), 0);
}

TEST(SpikeWindow, SaysNothingBeforeItIsFull) {
  SpikeWindow window;
  for (int i = 0; i < length - 1; ++i) window.add(i % 2);
  EXPECT_EQ(window.z_score(1e9), 0);
  window.add(1);
  EXPECT_GT(window.z_score(1e9), 1e6);
}

TEST(SpikeWindow, ForgetsWhatIsOld) {
  SpikeWindow window;
  for (int i = 0; i < 10; ++i) window.add(1e6);
  for (int i = 0; i < length; ++i) window.add(i % 2 == 0 ? -1 : 1);
  EXPECT_EQ(window, alternating());
}

// A line rises by sqrt(12) / 2 standard deviations above its mean at most: 1.73.
TEST(SpikeWindow, ASlowRiseIsNoSpike) {
  SpikeWindow window;
  for (int i = 0; i < 10 * length; ++i) {
    EXPECT_LT(window.z_score(i), 1.8) << i;
    window.add(i);
  }
}

TEST(SpikeWindow, EqualValuesHaveNoScore) {
  SpikeWindow window;
  for (int i = 0; i < length; ++i) window.add(0.5);
  EXPECT_EQ(window.z_score(0.5), 0);
  EXPECT_EQ(window.z_score(0.6), 0);
}

TEST(SpikeWindow, TakesFiniteValuesOnly) {
  SpikeWindow window = alternating();
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()})
    EXPECT_THAT(message_of([&] { window.add(bad); }), HasSubstr("finite"));
  EXPECT_EQ(window, alternating());
  EXPECT_FALSE(window.z_score(std::nan("")) > 6);
}

TEST(SpikeStatistics, NamesTheSpike) {
  const SpikeStatistics statistics{alternating(), alternating()};
  EXPECT_EQ(statistics.spike(6, 6, 6), "");
  EXPECT_EQ(statistics.spike(1e9, 1e9, 0), "");    // off
  EXPECT_EQ(statistics.spike(-1e9, -1e9, 6), "");  // a fall is none
  EXPECT_EQ(statistics.spike(7, 0, 6),
            "the loss 7 lies 7 standard deviations above the mean 0 of the last 128 applied steps");
  EXPECT_THAT(statistics.spike(0, 8, 6), HasSubstr("the gradient norm 8 lies 8"));
}

TEST(SpikeStatistics, AreStoredExactly) {
  SpikeStatistics statistics;
  for (int i = 0; i < 200; ++i) statistics.add(std::sqrt(i) / 3, 1e-300 * i + 1.0 / (i + 1));
  EXPECT_EQ(SpikeStatistics::from_json(Json::parse(statistics.to_json().dump())), statistics);
  EXPECT_EQ(SpikeStatistics::from_json(SpikeStatistics().to_json()), SpikeStatistics());
  EXPECT_THAT(message_of([] { SpikeStatistics::from_json(Json::parse("{\"loss\": []}")); }),
              HasSubstr("grad_norm"));
  Json many = Json::array();
  for (int i = 0; i < length + 1; ++i) many.push_back(i);
  EXPECT_THAT(message_of([&] { SpikeWindow::from_json(many); }), HasSubstr("129 values"));
  EXPECT_NE(message_of([] { SpikeWindow::from_json(Json::parse("[null]")); }), "no error");
}

}  // namespace
}  // namespace gallop::runs
