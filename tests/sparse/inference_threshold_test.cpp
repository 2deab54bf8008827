#include "gallop/sparse/choice/inference_threshold.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;

struct Owner : nn::Module {
  InferenceThreshold tau{*this, {2}, 0.5};
  Owner() { materialize(0); }
};

at::Tensor numbers(std::vector<float> values) { return at::tensor(values); }

TEST(InferenceThreshold, IsTheBufferForAllSamplesUntilThereAreLevels) {
  Owner owner;
  EXPECT_TRUE(owner.tau.attributes().buffer);
  EXPECT_EQ(owner.tau.name(), "threshold");
  EXPECT_TRUE(owner.tau.of_samples({}).equal(numbers({0.5, 0.5}).reshape({1, 2})));
  // One range needs no times.
  owner.tau.set_levels(ThresholdLevels{{}, numbers({1, 2}).reshape({1, 2})});
  EXPECT_TRUE(owner.tau.of_samples({}).equal(numbers({1, 2}).reshape({1, 2})));
  owner.tau.clear_levels();
  EXPECT_TRUE(owner.tau.of_samples({}).equal(numbers({0.5, 0.5}).reshape({1, 2})));
}

TEST(InferenceThreshold, GoesByTheNoiseLevelOfEachSample) {
  Owner owner;
  const at::Tensor values = numbers({1, 2, 3, 4, 5, 6}).reshape({3, 2});
  owner.tau.set_levels(ThresholdLevels{{0.25, 0.75}, values});
  const at::Tensor found = owner.tau.of_samples({.timestep_B = numbers({0.9, 0, 0.25, 0.7, 0.75})});
  EXPECT_TRUE(found.equal(values.index_select(0, at::tensor({2, 0, 1, 1, 2}))));
  // Steps of a discrete schedule.
  owner.tau.set_levels(ThresholdLevels{{250, 750}, values});
  EXPECT_TRUE(owner.tau.of_samples({.timestep_B = at::tensor({249, 250, 999})})
                  .equal(values.index_select(0, at::tensor({0, 1, 2}))));
  EXPECT_THAT(testing::message_of([&] { owner.tau.of_samples({}); }), HasSubstr("has no times"));
}

TEST(InferenceThreshold, RefusesOtherShapes) {
  Owner owner;
  const auto error = [&](std::vector<double> edges, const at::Tensor& values) {
    return testing::message_of(
        [&] { owner.tau.set_levels(ThresholdLevels{std::move(edges), values}); });
  };
  EXPECT_THAT(error({0.5}, numbers({1, 2}).reshape({1, 2})), HasSubstr("2 ranges"));
  EXPECT_THAT(error({}, numbers({1, 2, 3}).reshape({1, 3})), HasSubstr("expected is [1, 2]"));
}

}  // namespace
}  // namespace gallop::sparse
