#include "gallop/sparse/choice/inference_threshold.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/support/errors.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;

struct Owner : nn::Module {
  InferenceThreshold tau{*this, {2}, 0.5};
  Owner() { materialize(0); }
};

at::Tensor numbers(std::vector<float> values) { return at::tensor(values); }

// What a forward with these levels for all rows finds.
at::Tensor found_with(const Owner& owner, ThresholdLevels levels, const at::Tensor& time_B = {}) {
  const ThresholdSetting setting{{"threshold", std::move(levels)}};
  const RowThresholds settings{{&setting}, {}};
  return owner.tau.of_samples({.timestep_B = time_B, .thresholds = &settings});
}

TEST(InferenceThreshold, IsTheBufferUnlessTheForwardSaysOtherwise) {
  const Owner owner;
  EXPECT_TRUE(owner.tau.attributes().buffer);
  EXPECT_EQ(owner.tau.name(), "threshold");
  EXPECT_TRUE(owner.tau.of_samples({}).equal(numbers({0.5, 0.5}).reshape({1, 2})));
  // One range needs no times.
  const at::Tensor values = numbers({1, 2}).reshape({1, 2});
  EXPECT_TRUE(found_with(owner, {{}, values}).equal(values));
  const RowThresholds none{{nullptr}, {}};
  EXPECT_TRUE(
      owner.tau.of_samples({.thresholds = &none}).equal(numbers({0.5, 0.5}).reshape({1, 2})));
}

TEST(InferenceThreshold, GoesByTheNoiseLevelOfEachSample) {
  const Owner owner;
  const at::Tensor values = numbers({1, 2, 3, 4, 5, 6}).reshape({3, 2});
  EXPECT_TRUE(found_with(owner, {{0.25, 0.75}, values}, numbers({0.9, 0, 0.25, 0.7, 0.75}))
                  .equal(values.index_select(0, at::tensor({2, 0, 1, 1, 2}))));
  // Steps of a discrete schedule.
  EXPECT_TRUE(found_with(owner, {{250, 750}, values}, at::tensor({249, 250, 999}))
                  .equal(values.index_select(0, at::tensor({0, 1, 2}))));
  EXPECT_THAT(testing::message_of([&] { found_with(owner, {{250, 750}, values}); }),
              HasSubstr("has no times"));
}

TEST(InferenceThreshold, GoesByTheSettingOfEachRow) {
  const Owner owner;
  const ThresholdSetting one{{"threshold", {{}, numbers({1, 2}).reshape({1, 2})}}},
      by_time{{"threshold", {{0.5}, numbers({3, 4, 5, 6}).reshape({2, 2})}}};
  const RowThresholds settings{{&one, nullptr, &by_time}, at::tensor({2L, 0L, 1L, 2L})};
  EXPECT_TRUE(owner.tau.of_samples({.timestep_B = numbers({0, 0, 0, 1}), .thresholds = &settings})
                  .equal(numbers({3, 4, 1, 2, 0.5, 0.5, 5, 6}).reshape({4, 2})));
}

TEST(InferenceThreshold, RefusesOtherShapesAndNames) {
  const Owner owner;
  const auto error = [&](std::vector<double> edges, const at::Tensor& values) {
    return testing::message_of([&] { found_with(owner, {std::move(edges), values}); });
  };
  EXPECT_THAT(error({0.5}, numbers({1, 2}).reshape({1, 2})), HasSubstr("2 ranges"));
  EXPECT_THAT(error({}, numbers({1, 2, 3}).reshape({1, 3})), HasSubstr("expected is [1, 2]"));
  const ThresholdSetting other{{"another.threshold", {}}};
  const RowThresholds settings{{&other}, {}};
  EXPECT_THAT(testing::message_of([&] { owner.tau.of_samples({.thresholds = &settings}); }),
              HasSubstr("no threshold of this name; it has another.threshold"));
}

}  // namespace
}  // namespace gallop::sparse
