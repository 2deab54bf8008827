#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::scores_of;
using testing::Selector;

constexpr const char* kBias = "router.e_score_correction_bias";

REFERENCE_TEST(GroupedCases, MatchTheReference, "routing/kind_grouped_sigmoid") {
  const Json& config = fixture.config();
  const int64_t groups = config.at("n_group").as_int(), kept = config.at("topk_group").as_int();
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const Scores scores = scores_of("sigmoid", logits.unsqueeze(0));
  fixture.expect_close(scores.gate_BLE[0], "out.scores");

  std::ostringstream toml;
  toml << "kind = \"grouped\"\ngroups = " << groups << "\nkept_groups = " << kept;
  Selector selector(toml.str(), scores.gate_BLE.sizes(), config.at("k").as_double());
  selector.buffer(kBias)->copy_(fixture.in("bias"));
  const Selected selected = selector.select(scores);
  fixture.expect_close(selected.mask_BLE()[0], "out.mask");

  std::ostringstream scaled;
  scaled << "kind = \"sum\"\nscale = " << config.at("scaling").dump();
  const at::Tensor weights = testing::weights_of(scaled.str(), scores, selected)[0];
  fixture.expect_close(weights, "out.weight");
  weights.mul(fixture.in("cotangent")).sum().backward();
  fixture.expect_close(logits.grad(), "grad.logits");

  // What is kept lies inside the published groups.
  const at::Tensor group_TG = at::zeros({logits.size(0), groups}, at::TensorOptions(at::kBool))
                                  .scatter(1, fixture.out("groups"), 1);
  const at::Tensor used_TG = selected.mask_BLE()[0].reshape({logits.size(0), groups, -1}).any(-1);
  EXPECT_FALSE(used_TG.logical_and(group_TG.logical_not()).any().item<bool>());
  fixture.expect_all_checked({"out.groups"});
}

REFERENCE_TEST(GroupedCases, TheBiasFollowsTheReference, "routing/bias_update") {
  const Json& config = fixture.config();
  Selector selector("kind = \"grouped\"\nbias_rate = " + config.at("u").dump(),
                    {1, config.at("T").as_int(), config.at("E").as_int()},
                    config.at("k").as_double());
  nn::Parameter& bias = selector.buffer(kBias);
  bias->copy_(fixture.in("bias"));
  for (int64_t step = 0; step < config.at("steps").as_int(); ++step) {
    const std::string out = "out.step" + std::to_string(step) + ".";
    const Scores scores = scores_of("sigmoid", fixture.in("logits")[step].unsqueeze(0));
    const Selected selected = selector.select(scores);
    fixture.expect_close(selected.mask_BLE()[0], out + "mask");
    fixture.expect_close(selected.mask_BLE()[0].sum(0), out + "loads");
    fixture.expect_close(testing::weights_of("kind = \"gate\"", scores, selected)[0],
                         out + "weight");
    const at::Tensor before = bias->clone();
    EXPECT_TRUE(selector.select(scores, /*training=*/false).pending.empty());
    EXPECT_TRUE(bias->equal(before));  // a forward changes nothing
    for (const PendingUpdate& update : selected.pending) update.commit(step);
    fixture.expect_close(*bias, out + "bias");
  }
  fixture.expect_all_checked();
}

// Two micro-batches with opposite loads: even as a step, and two steps back and forth alone.
TEST(Grouped, TheBiasMovesOnceAStepByTheLoadsOfAllMicroBatches) {
  for (const bool whole : {true, false}) {
    Selector selector(std::string("kind = \"grouped\"\nbias_rate = 0.5\nbias_scope = \"") +
                          (whole ? "global" : "batch") + "\"",
                      {1, 2, 2}, 1);
    const at::Tensor logits = testing::tensor_of({2, 0, 2, 0}).reshape({1, 2, 2});
    const auto first = selector.select(scores_of("sigmoid", logits)).pending;
    const auto second = selector.select(scores_of("sigmoid", logits.flip(2))).pending;
    const auto commit = [&](const auto& pending, bool last) {
      for (const PendingUpdate& update : pending) update.commit({0, last});
      return *selector.buffer(kBias);
    };
    const auto expect_bias = [&](const at::Tensor& bias, float one, float other) {
      EXPECT_TRUE(bias.equal(testing::tensor_of({one, other}))) << bias << " global " << whole;
    };
    expect_bias(commit(first, false), whole ? 0 : -0.5F, whole ? 0 : 0.5F);
    expect_bias(commit(second, true), 0, 0);
    expect_bias(commit(first, false), whole ? 0 : -0.5F, whole ? 0 : 0.5F);
    expect_bias(commit(first, true), whole ? -0.5F : -1, whole ? 0.5F : 1);
  }
}

TEST(Grouped, RefusesGroupsThatDoNotFit) {
  const auto error = [](const std::string& toml, double active) {
    return testing::message_of([&] { Selector("kind = \"grouped\"\n" + toml, {1, 4, 6}, active); });
  };
  EXPECT_THAT(error("groups = 4", 1), HasSubstr("6 experts cannot be cut into 4 equal groups"));
  EXPECT_THAT(error("groups = 2\nkept_groups = 3", 1), HasSubstr("3 kept groups of 2"));
  EXPECT_THAT(error("groups = 3\nkept_groups = 1", 3), HasSubstr("hold only 2"));
}

}  // namespace
}  // namespace gallop::sparse
