#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/models/model.h"
#include "gallop/runs/restore.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/training/trainer.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Two tokens, two experts, one of them wanted a token: gates [[1, 0], [2, 3]].
RoutingRecord small_record() {
  const Scores scores =
      testing::scores_of("relu", at::tensor({1., -5., 2., 3.}).reshape({1, 2, 2}));
  const testing::Selector selector("kind = \"positive\"", {1, 2, 2}, 1);
  return testing::record_of(scores, selector.select(scores), 1);
}

TEST(AdaptiveL1, KeepsWhatIsPositive) {
  const RoutingRecord record = small_record();
  EXPECT_TRUE(
      record.kept.mask_BLE().equal(at::tensor({1, 0, 1, 1}).to(at::kBool).reshape({1, 2, 2})));
  EXPECT_TRUE(record.kept.weights_P.equal(at::tensor({1., 2., 3.})));  // sorted by expert
}

// f = E/(k T) * (2, 1) = (2, 1): (2*1 + 2*2 + 1*3) / T.
TEST(AdaptiveL1, WeighsGatesByTheLoadsOfTheirExperts) {
  EXPECT_EQ(testing::loss_of("adaptive_l1", small_record()).item<double>(), 4.5);
  EXPECT_EQ(testing::loss_of("adaptive_l1", small_record(), "balanced = false").item<double>(), 3);
}

// A model of two layers with such a loss each.
class Layers {
 public:
  explicit Layers(const std::string& toml) {
    for (int layer = 0; layer < 2; ++layer) {
      losses_[layer].push_back(testing::make<SparseLoss>(
          "kind = \"adaptive_l1\"\nweight = 2\n" + toml, {.layers = 2, .layer = &parts_[layer]}));
    }
    root_.materialize(/*seed=*/0, {.dtype = at::kDouble});
  }
  LossTotal total() {
    records_.clear();
    for (auto& losses : losses_) {
      records_.push_back(small_record());
      records_.back().losses = &losses;
    }
    auto totals = total_losses(records_, {});
    EXPECT_EQ(totals.size(), 1u);
    return std::move(totals.at(0));
  }
  double factor() const {
    return (*root_.find_parameter("losses.experts.adaptive_l1.factor"))->item<double>();
  }
  size_t states() const { return root_.parameters().size(); }

 private:
  nn::Module root_;
  nn::Module parts_[2] = {{root_, "0"}, {root_, "1"}};
  std::vector<std::unique_ptr<SparseLoss>> losses_[2];
  std::vector<RoutingRecord> records_;
};

// Three of four pairs are kept where two are wanted: the factor grows, once a step and not once a
// layer or micro-batch.
TEST(AdaptiveL1, OneFactorOfAllLayersFollowsTheSparsity) {
  Layers layers("initial = 0.5\nratio = 1.25");
  EXPECT_EQ(layers.states(), 1u);
  const LossTotal first = layers.total(), second = layers.total();
  EXPECT_EQ(first.value.item<double>(), 4.5);
  EXPECT_EQ(first.weight, 2 * 0.5);
  EXPECT_EQ(first.scalars.at(0).first, "factor");
  EXPECT_EQ(first.scalars.at(0).second.item<double>(), 0.5);
  EXPECT_EQ(first.scalars.at(1).first, "sparsity");
  EXPECT_EQ(first.scalars.at(1).second.item<double>(), 0.25);
  ASSERT_EQ(first.pending.size(), 1u);
  first.pending[0].commit({0, /*last=*/false});
  EXPECT_EQ(layers.factor(), 0);
  second.pending.at(0).commit({0, /*last=*/true});
  EXPECT_EQ(layers.factor(), 0.625);
  EXPECT_EQ(layers.total().weight, 2 * 0.625);
}

TEST(AdaptiveL1, TheFactorHasLimits) {
  Layers layers("initial = 0.5\nratio = 1.25\nmost = 0.6");
  layers.total().pending.at(0).commit({0});
  EXPECT_EQ(layers.factor(), 0.6);
  Layers others("initial = 0.5\nratio = 1.25\nleast = 0.7");
  others.total().pending.at(0).commit({0});
  EXPECT_EQ(others.factor(), 0.7);
  EXPECT_THAT(testing::message_of([] { Layers("least = 2\nmost = 1"); }),
              HasSubstr("least = 2 is above most = 1"));
}

TEST(AdaptiveL1, IsRefusedWhereNoGateIsZero) {
  const auto message = [](const std::vector<std::string>& overrides) {
    return testing::message_of(
        [&] { runs::make_task(training::recipe_in("unused", overrides))->make_model(); });
  };
  EXPECT_THAT(message({"model.mlp.losses.adaptive_l1.weight=1"}),
              AllOf(HasSubstr("the loss 'adaptive_l1' needs gates of exactly 0"),
                    HasSubstr("the gate 'identity'")));
  EXPECT_THAT(message({"model.mlp.selection=positive"}),
              AllOf(HasSubstr("the selection 'positive' needs gates of exactly 0"),
                    HasSubstr("the gate 'identity'")));
}

// A loss of weight 0 leaves nothing in the model; one that is used is in log, state and checkpoint.
TEST(AdaptiveL1, LearnsTheWantedExpertsInARun) {
  const test::TemporaryDirectory folder;
  training::Trainer plain(training::recipe_in(folder / "plain", {}));
  EXPECT_EQ(plain.model().find_parameter("losses.experts.adaptive_l1.factor"), nullptr);
  training::Trainer trainer(training::recipe_in(
      folder / "run",
      {"model.mlp={kind=\"moe\",setting=\"1-in-4\",gate=\"relu\",selection=\"positive\"}",
       "model.mlp.losses.adaptive_l1={weight=1,initial=1e-3}", "train.steps=120",
       "train.accumulate=2", "eval.every=0"}));
  trainer.run();
  const nn::Parameter* factor = trainer.model().find_parameter("losses.experts.adaptive_l1.factor");
  ASSERT_NE(factor, nullptr);
  EXPECT_GT((*factor)->item<double>(), 0);
  EXPECT_NE((*factor)->item<float>(), 1e-3f);
  const auto lines = training::log_lines(folder / "run");
  const Json last = Json::parse(lines.back());
  EXPECT_NEAR(last.at("adaptive_l1_sparsity").as_double(), 0.75, 0.12);
  EXPECT_NE(last.find("adaptive_l1_factor"), nullptr);
}

}  // namespace
}  // namespace gallop::sparse
