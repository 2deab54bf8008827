#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/sparse/choice/selection.h"
#include "tests/support/errors.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::random_normal;

constexpr int64_t kB = 3, kL = 4, kD = 6, kE = 2;

// The selection alone, with scores and tokens of its own.
class DiffMoe {
 public:
  explicit DiffMoe(const std::string& settings = "")
      : selection_(testing::make<Selection>(
            "kind = \"diffmoe\"\n" + settings,
            {.parent = &parent_, .experts = kE, .tokens = kL, .active = 1, .D = kD})) {
    parent_.materialize(/*seed=*/3);
  }
  Selected select(const at::Tensor& x_BLD, const at::Tensor& key_BLE, bool training) const {
    return selection_->select({key_BLE, key_BLE, key_BLE, x_BLD}, {.training = training});
  }
  Selection* operator->() const { return selection_.get(); }

 private:
  nn::Module parent_;
  std::unique_ptr<Selection> selection_;
};

const at::Tensor x = random_normal({kB, kL, kD}, "x"), key = random_normal({kB, kL, kE}, "key");

TEST(DiffMoeSelection, TheExactThresholdKeepsExactlyThatMany) {
  for (const char* rule : {"count", "pairs"}) {
    DiffMoe diffmoe(std::string("inference = \"") + rule + "\"");
    const at::Tensor compared = diffmoe.select(x, key, false).compared_BLE;
    for (const double active : {0.5, 1.0, 1.5, 2.0}) {
      const at::Tensor tau = diffmoe->exact_threshold(compared, active);
      (**diffmoe->threshold()).copy_(tau);
      const at::Tensor loads = diffmoe.select(x, key, false).mask_BLE().sum({0, 1});
      EXPECT_TRUE(loads.eq(active * kB * kL / kE).all().item<bool>()) << rule << " " << active;
    }
    EXPECT_THAT(testing::message_of([&] { diffmoe->exact_threshold(compared, 2.5); }),
                HasSubstr("at most the 2"));
    EXPECT_THAT(testing::message_of([&] { diffmoe->exact_threshold(compared, 0.01); }),
                HasSubstr("too few scores"));
  }
}

// The published rule takes the predicted number, but the tokens of largest score; the other one the
// very pairs, so that a sample gets the same alone.
TEST(DiffMoeSelection, CountsAcrossTheBatchOrKeepsThePredictedPairs) {
  DiffMoe count, pairs("inference = \"pairs\"");
  EXPECT_FALSE(count->independent_at_inference());
  EXPECT_TRUE(pairs->independent_at_inference());
  const at::Tensor compared = count.select(x, key, false).compared_BLE;
  for (DiffMoe* each : {&count, &pairs}) {
    (**(*each)->threshold()).copy_((*each)->exact_threshold(compared, 1));
  }
  const Selected by_count = count.select(x, key, false), by_pair = pairs.select(x, key, false);
  EXPECT_TRUE(by_count.mask_BLE().sum({0, 1}).equal(by_pair.mask_BLE().sum({0, 1})));
  for (int64_t e = 0; e < kE; ++e) {
    const auto kept = key.select(2, e).masked_select(by_count.mask_BLE().select(2, e));
    const auto left =
        key.select(2, e).masked_select(by_count.mask_BLE().select(2, e).logical_not());
    EXPECT_GT(kept.min().item<float>(), left.max().item<float>());
  }
  for (int64_t b = 0; b < kB; ++b) {
    const Selected alone = pairs.select(x.narrow(0, b, 1), key.narrow(0, b, 1), false);
    EXPECT_TRUE(alone.mask_BLE().equal(by_pair.mask_BLE().narrow(0, b, 1)));
  }
}

TEST(DiffMoeSelection, TrainingReadsTheScoresAloneAndTheLossThePredictions) {
  DiffMoe diffmoe;
  const at::Tensor leaf = x.clone().set_requires_grad(true);
  const Selected selected = diffmoe.select(leaf, key, true);
  EXPECT_TRUE(selected.mask_BLE().sum({0, 1}).eq(kB * kL / kE).all().item<bool>());
  EXPECT_TRUE(selected.extras.at("capacity").requires_grad());
  selected.extras.at("capacity").sum().backward();
  EXPECT_FALSE(leaf.grad().defined()) << "the tokens are detached";
  EXPECT_THAT(testing::message_of([&] { diffmoe.select({}, key, true); }),
              HasSubstr("predicts from the tokens"));
}

}  // namespace
}  // namespace gallop::sparse
