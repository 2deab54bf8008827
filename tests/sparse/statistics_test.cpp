#include "gallop/sparse/statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/fixture.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::tensor_of;

REFERENCE_TEST(StatisticsCases, CombinationUsageMatchesTheReference, "routing/combination_usage") {
  fixture.expect_constant("share", 0.95);
  for (const std::string& mask : fixture.names_with_prefix("in.")) {  // <name>.mask
    const double percent = combination_usage(fixture.in(mask));
    fixture.expect_close(at::zeros({}, at::TensorOptions(at::kDouble)) + percent,
                         "out." + mask.substr(0, mask.rfind('.')) + ".percent");
  }
  fixture.expect_all_checked();
}

TEST(Statistics, MaxViolationIsTheExcessOverTheMean) {
  EXPECT_EQ(max_violation(tensor_of({2, 2, 2, 2})), 0);
  EXPECT_EQ(max_violation(tensor_of({8, 0, 0, 0})), 3);  // (8 - 2) / 2
  EXPECT_TRUE(std::isnan(max_violation(tensor_of({0, 0}))));
}

RoutingRecord record_of(const std::vector<float>& mask, at::IntArrayRef shape_BLE) {
  RoutingRecord record;
  const at::Tensor mask_BLE = tensor_of(mask).reshape(shape_BLE).to(at::kBool);
  record.kept = keep(Pairs::of_mask(mask_BLE), mask_BLE.to(at::kFloat));
  return record;
}

// Two layers: both pairs on the first of four tokens; one pair a token on alternating experts.
std::vector<RoutingRecord> two_layers() {
  std::vector<RoutingRecord> records;
  records.push_back(record_of({1, 1, 0, 0, 0, 0, 0, 0}, {1, 4, 2}));
  records.push_back(record_of({1, 0, 0, 1, 1, 0, 1, 0}, {2, 2, 2}));
  return records;
}

// Point 10 of the verification list of Expert Race: what a run watches.
TEST(Statistics, AreAveragedOverTheLayers) {
  const RoutingStatistics statistics = statistics_of(two_layers());
  EXPECT_DOUBLE_EQ(statistics.experts_per_token, (0.5 + 1.0) / 2);
  EXPECT_DOUBLE_EQ(statistics.max_violation, (0.0 + 0.5) / 2);  // loads 1, 1 and 3, 1
  EXPECT_DOUBLE_EQ(statistics.starved, (0.75 + 0.0) / 2);
}

// Loads 1, 1 and 3, 1 of the first forward, 4, 0 in both layers of the second: 5, 1 and 7, 1.
TEST(Statistics, OfSeveralForwardsComeFromTheirSums) {
  RoutingTotals totals;
  totals.add(two_layers());
  std::vector<RoutingRecord> more;
  for (int layer = 0; layer < 2; ++layer) {
    more.push_back(record_of({1, 0, 1, 0, 1, 0, 1, 0}, {1, 4, 2}));
  }
  totals.add(more);
  const RoutingStatistics statistics = totals.statistics();
  EXPECT_DOUBLE_EQ(statistics.experts_per_token, (6.0 / 8 + 8.0 / 8) / 2);
  EXPECT_DOUBLE_EQ(statistics.max_violation, (2.0 / 3 + 3.0 / 4) / 2);
  EXPECT_DOUBLE_EQ(statistics.starved, (3.0 / 8 + 0.0) / 2);
}

// Both pairs on one token use one combination of one; none elsewhere. Uniform scores of two experts
// have the entropy ln 2, certain ones 0.
TEST(Statistics, DetailsAreOfTheWholeSetToo) {
  std::vector<RoutingRecord> records = two_layers();
  records[0].logits_BLE = at::zeros({1, 4, 2});
  records[1].logits_BLE = tensor_of({500, 0, 0, 500, 500, 0, 500, 0}).reshape({2, 2, 2});
  RoutingTotals totals(/*detailed=*/true);
  totals.add(records);
  totals.add(records);
  const RoutingStatistics statistics = totals.statistics();
  EXPECT_NEAR(statistics.entropy, (std::log(2.0) + 0) / 2, 1e-6);
  // One pair holds all: its cumulative share, 100 %, is not below 95 %.
  EXPECT_EQ(statistics.combination_usage, 0);
  EXPECT_EQ(statistics_of(records).entropy, 0);
}

TEST(Statistics, CombinationsAddUpBeforeTheyAreCounted) {
  // Each forward uses one pair of three; together all three alike, two of which are below 95 %.
  RoutingTotals totals(/*detailed=*/true);
  for (const std::vector<float>& mask :
       {std::vector<float>{1, 1, 0}, std::vector<float>{0, 1, 1}, std::vector<float>{1, 0, 1}}) {
    std::vector<RoutingRecord> records;
    records.push_back(record_of(mask, {1, 1, 3}));
    records[0].logits_BLE = at::zeros({1, 1, 3});
    totals.add(records);
  }
  EXPECT_NEAR(totals.statistics().combination_usage, 200.0 / 3, 1e-9);
}

TEST(Statistics, OfADenseModelAreZero) {
  const RoutingStatistics statistics = statistics_of({});
  EXPECT_EQ(statistics.experts_per_token, 0);
  EXPECT_EQ(statistics.starved, 0);
}

}  // namespace
}  // namespace gallop::sparse
