#include "gallop/sparse/choice/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/base/error.h"
#include "gallop/sparse/choice/pooled_selection.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::random_normal;
using testing::scores_of;
using testing::Selector;
using testing::tensor_of;

const char* const kStrategies[] = {"token", "expert", "bl", "be", "le", "race"};

Selector strategy(const std::string& name, const at::Tensor& logits_BLE, double active) {
  return {"kind = \"" + name + "\"", logits_BLE.sizes(), active};
}

REFERENCE_TEST(SelectionCases, KeepThePairsOfTheReference, "routing/selection") {
  const Json& config = fixture.config();
  const double active = config.at("k").as_double();
  for (const Json& strategy_json : config.at("strategies").as_array()) {
    const std::string& strategy_name = strategy_json.as_string();
    for (const Json& gate_json : config.at("gates").as_array()) {
      const std::string& gate = gate_json.as_string();
      const std::string name = strategy_name + "." + gate, out = "out." + name + ".";
      if (!fixture.has(out + "mask")) continue;  // some gates stand for one strategy only
      const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
      const Scores scores = scores_of(gate, logits);
      const Selected selected = strategy(strategy_name, logits, active).select(scores);
      const Kept pairs = keep(selected.pairs, scores.gate_BLE);

      fixture.expect_close(selected.mask_BLE(), out + "mask");
      fixture.expect_close(selected.kappa, out + "kappa");
      fixture.expect_close(pairs.offsets(), out + "offsets");
      fixture.expect_close(pairs.token_P(), out + "tokens");
      fixture.expect_close(pairs.weights_P, out + "csr_weights");
      fixture.expect_close(pairs.loads(), out + "loads");
      const at::Tensor weight = scores.gate_BLE.mul(selected.mask_BLE());
      fixture.expect_close(weight, out + "weight");
      if (!fixture.has("grad." + name + ".logits")) continue;
      weight.mul(fixture.in("cotangent")).sum().backward();
      fixture.expect_close(logits.grad(), "grad." + name + ".logits");
    }
  }
  fixture.expect_all_checked();
}

// Point 1 of the verification list of Expert Race: the reductions.
TEST(Selection, AllStrategiesKeepTheSameNumberOfPairs) {
  const at::Tensor logits = random_normal({3, 8, 4}, "pairs");  // every K is an integer for k = 2
  for (const char* name : kStrategies) {
    EXPECT_EQ(strategy(name, logits, 2).mask(logits).sum().item<int64_t>(), 3 * 8 * 2) << name;
  }
}

TEST(Selection, EverythingIsKeptWhenAllExpertsAreActive) {
  const at::Tensor logits = random_normal({2, 4, 4}, "all");
  for (const char* name : kStrategies) {
    EXPECT_TRUE(strategy(name, logits, 4).mask(logits).all().item<bool>()) << name;
  }
}

TEST(Selection, RaceOfOneTokenIsTokenChoice) {
  const at::Tensor logits = random_normal({1, 1, 8}, "token");
  EXPECT_TRUE(
      strategy("race", logits, 3).mask(logits).equal(strategy("token", logits, 3).mask(logits)));
}

TEST(Selection, RaceOfOneSampleIsLeChoice) {
  const at::Tensor logits = random_normal({1, 6, 8}, "le");
  EXPECT_TRUE(
      strategy("race", logits, 2).mask(logits).equal(strategy("le", logits, 2).mask(logits)));
}

TEST(Selection, RaceOfOneTokenASampleIsBeChoice) {
  const at::Tensor logits = random_normal({5, 1, 8}, "be");
  EXPECT_TRUE(
      strategy("race", logits, 2).mask(logits).equal(strategy("be", logits, 2).mask(logits)));
}

// Point 2: a constant a token changes the race, not the order inside a token.
TEST(Selection, OffsetsOfTokensMatterToTheRaceOnly) {
  const at::Tensor logits = random_normal({2, 6, 8}, "logits");
  const at::Tensor shifted = logits.add(random_normal({2, 6, 1}, "offset"));
  const Selector race = strategy("race", logits, 2), token = strategy("token", logits, 2);
  EXPECT_FALSE(race.mask(logits).equal(race.mask(shifted)));
  EXPECT_TRUE(token.mask(logits).equal(token.mask(shifted)));
  testing::expect_close(scores_of("softmax", shifted).gate_BLE,
                        scores_of("softmax", logits).gate_BLE, 0, 1e-6, "softmax");
  EXPECT_TRUE(race.select(scores_of("softmax", logits))
                  .mask_BLE()
                  .equal(race.select(scores_of("softmax", shifted)).mask_BLE()));
}

// Point 7, for the selection alone: which kinds see the other samples of a batch.
TEST(Selection, PoolsSayWhatCompetes) {
  const at::Tensor logits = random_normal({4, 6, 8}, "pools");
  for (const char* name : kStrategies) {
    const Selector selector = strategy(name, logits, 2);
    const at::Tensor alone = selector.mask(logits.narrow(0, 0, 1));
    const bool same = alone.equal(selector.mask(logits).narrow(0, 0, 1));
    EXPECT_EQ(same, !(*selector).pools().samples) << name;
  }
}

TEST(Selection, ThresholdDoesNotSeeTheRestOfTheBatch) {
  const at::Tensor logits = random_normal({4, 6, 8}, "pools");
  for (const char* name : {"race", "bl", "be"}) {
    const Selector selector(std::string("kind = \"") + name + "\"\ninitial = 0.25", logits.sizes(),
                            2);
    const at::Tensor mask = selector.mask(logits, /*training=*/false);
    EXPECT_TRUE(mask.equal(logits.ge(0.25))) << name;
    const Selected alone =
        selector.select({logits[1].unsqueeze(0), logits[1].unsqueeze(0), logits[1].unsqueeze(0)},
                        /*training=*/false);
    EXPECT_TRUE(alone.mask_BLE().equal(mask.narrow(0, 1, 1))) << name;
    EXPECT_FALSE(alone.kappa.defined()) << name;
    EXPECT_TRUE(alone.pending.empty()) << name;
  }
}

TEST(Selection, TopKAtInferenceIsAnOption) {
  const at::Tensor logits = random_normal({2, 6, 8}, "top-k");
  const Selector selector("kind = \"race\"\ninference = \"top-k\"", logits.sizes(), 2);
  EXPECT_TRUE(selector.mask(logits, false).equal(selector.mask(logits, true)));
  EXPECT_TRUE(selector.select({logits, logits, logits}, false).pending.empty());
}

// For study: kinds inside a sample by threshold, which follows the mean of the samples' kappas.
TEST(Selection, EveryStrategyCanUseAThreshold) {
  const at::Tensor logits = random_normal({4, 6, 8}, "threshold");
  const std::pair<const char*, std::vector<int64_t>> shapes[] = {
      {"token", {6}}, {"expert", {8}}, {"le", {}}};
  for (const auto& [name, shape] : shapes) {
    const Selector selector(std::string("kind = \"") + name + "\"\ninference = \"threshold\"",
                            logits.sizes(), 2);
    EXPECT_EQ(selector->threshold()->shape(), shape) << name;
    EXPECT_TRUE(selector->independent_at_inference()) << name;
    const Selected selected = selector.select({logits, logits, logits});
    ASSERT_EQ(selected.pending.size(), 1u) << name;
    selected.pending[0].commit(0);
    const at::Tensor tau = **selector->threshold();
    testing::expect_close(tau, selected.kappa.reshape({4, -1}).mean(0).reshape(shape), 1e-6, 1e-6,
                          name);
    const at::Tensor limit = std::string(name) == "token" ? tau.unsqueeze(-1) : tau;
    EXPECT_TRUE(selector.mask(logits, /*training=*/false).equal(logits.ge(limit))) << name;
    // Over all samples, each pool keeps k/E of its scores.
    const at::Tensor exact = selector->exact_threshold(logits);
    ASSERT_EQ(exact.sizes(), at::IntArrayRef(shape)) << name;
    const at::Tensor above = logits.ge(std::string(name) == "token" ? exact.unsqueeze(-1) : exact);
    EXPECT_EQ(above.sum().item<int64_t>(), 4 * 6 * 2) << name;
    EXPECT_EQ(strategy(name, logits, 2)->threshold(), nullptr) << name;
  }
}

TEST(Selection, AThresholdThatWasNeverSetIsAnError) {
  const at::Tensor logits = random_normal({2, 6, 8}, "unset");
  const std::string message =
      testing::message_of([&] { strategy("race", logits, 2).mask(logits, /*training=*/false); });
  EXPECT_THAT(message, HasSubstr("router.threshold is not set"));
  EXPECT_THAT(message, HasSubstr("gallop calibrate"));
}

TEST(Selection, KeptOfPoolRoundsDownButNotBelowAnInteger) {
  EXPECT_EQ(kept_of_pool(2, 12, 4), 6);
  EXPECT_EQ(kept_of_pool(3, 7, 8), 2);
  EXPECT_EQ(kept_of_pool(1, 3, 4), 0);
  EXPECT_EQ(kept_of_pool(1.1, 80, 8), 11);  // 1.1 * 80 is 88.00000000000001, 1.1 * 10 is 11
  EXPECT_EQ(kept_of_pool(0.7, 10, 1), 7);   // 0.7 * 10 is 6.999...
}

TEST(Selection, OnlyKindsWithAThresholdCanBeCalibrated) {
  const at::Tensor logits = random_normal({2, 6, 8}, "calibrate");
  EXPECT_THROW((*strategy("token", logits, 2)).exact_threshold(logits), Error);
}

// 1..12 in one pool, k/E = 1/2: six values are kept, the least of them is 7.
TEST(Selection, ExactThresholdIsTheQuantileOfEachPool) {
  const at::Tensor scores =
      tensor_of({12, 1, 3, 10, 5, 8, 7, 6, 9, 4, 11, 2}).reshape({3, 2, 2});  // N, L, E
  const Selector race = strategy("race", scores, 1);
  EXPECT_EQ((*race).exact_threshold(scores).item<float>(), 7);
  EXPECT_EQ((*race).exact_threshold(scores).dim(), 0);
  // Expert 0: 12 3 5 7 9 11; expert 1: 1 10 8 6 4 2; three of each are kept.
  EXPECT_TRUE((*strategy("bl", scores, 1)).exact_threshold(scores).equal(tensor_of({9, 6})));
  // Position 0: 12 1 5 8 9 4; position 1: 3 10 7 6 11 2.
  EXPECT_TRUE((*strategy("be", scores, 1)).exact_threshold(scores).equal(tensor_of({8, 7})));
}

TEST(Selection, UnknownKindNamesTheNearest) {
  EXPECT_THAT(testing::message_of([] { testing::component("selection", "kind = \"rice\""); }),
              HasSubstr("race"));
}

}  // namespace
}  // namespace gallop::sparse
