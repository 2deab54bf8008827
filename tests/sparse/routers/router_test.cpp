#include "gallop/sparse/choice/router.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/config/registry.h"
#include "gallop/nn/cosine.h"
#include "gallop/sparse/losses/contrastive.h"
#include "gallop/sparse/losses/load.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;
using testing::Selector;

// A router on its own, its parameters named "router.*".
class Routing {
 public:
  Routing(const std::string& toml, int64_t D, int64_t experts,
          const std::map<std::string, at::Tensor>& values, int64_t target_width = 0)
      : router_(testing::make<Router>(
            toml, {.parent = &root_, .D = D, .experts = experts, .target_width = target_width})) {
    testing::load(root_, values);
  }
  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx = {.training = true}) {
    return router_->forward(x_BLD, ctx);
  }
  at::Tensor gradient(const std::string& name) {
    return testing::gradient_of(*root_.find_parameter("router." + name));
  }

 private:
  nn::Module root_;
  std::unique_ptr<Router> router_;
};

struct Choice {
  Selected selected;
  at::Tensor weight_TE;
};

// Token choice of k by a gate, weighted by a convention; the tokens are those of one sample.
Choice choose(const at::Tensor& logits_BLE, const std::string& gate, const std::string& weighting,
              double k) {
  const Scores scores = testing::scores_of(gate, logits_BLE);
  Choice choice{Selector("kind = \"token\"", logits_BLE.sizes(), k).select(scores), {}};
  choice.weight_TE =
      testing::weights_of("kind = \"" + weighting + "\"", scores, choice.selected)[0];
  return choice;
}

REFERENCE_TEST(CosineRouterCases, MatchTheReference, "routing/kind_cosine_gate") {
  const Json& config = fixture.config();
  EXPECT_EQ(fixture.number_in("temperature", "ln ([0-9][0-9.eE+-]*)"), 100);
  for (const std::string& name : fixture.names_with_prefix("in.tau_")) {
    Routing router("kind = \"cosine\"\nprojection = " + config.at("projected").dump(),
                   config.at("D").as_int(), config.at("E").as_int(),
                   {{"router.projection.weight", fixture.in("projection")},
                    {"router.projection.bias", fixture.in("projection_bias")},
                    {"router.experts.weight", fixture.in("experts")},
                    {"router.temperature", fixture.in("tau_" + name)}});
    const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
    const at::Tensor logits = router.forward(x.unsqueeze(0)).logits_BLE;
    const Choice choice = choose(logits, "softmax", "sum", config.at("k").as_double());
    fixture.expect_close(logits[0], "out." + name + ".logits");
    fixture.expect_close(choice.selected.mask_BLE()[0], "out." + name + ".mask");
    fixture.expect_close(choice.weight_TE, "out." + name + ".weight");
    choice.weight_TE.mul(fixture.in("cotangent")).sum().backward();
    const std::string grad = "grad." + name + ".";
    fixture.expect_close(x.grad(), grad + "x");
    fixture.expect_close(router.gradient("projection.weight"), grad + "projection");
    fixture.expect_close(router.gradient("projection.bias"), grad + "projection_bias");
    fixture.expect_close(router.gradient("experts.weight"), grad + "experts");
    fixture.expect_close(router.gradient("temperature"), grad + "tau");
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(CentroidRouterCases, MatchTheReference, "routing/kind_centroid_gate") {
  const Json& config = fixture.config();
  for (const std::string rule : {"farthest", "nearest"}) {
    Routing router("kind = \"centroid\"\nrule = \"" + rule + "\"", config.at("D").as_int(),
                   config.at("E").as_int(), {{"router.centroids", fixture.in("centroids")}});
    const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
    const at::Tensor logits = router.forward(x.unsqueeze(0)).logits_BLE;
    const Choice choice = choose(logits, "identity", "softmax", config.at("k").as_double());
    fixture.expect_close(logits[0].abs(), "out.distance");
    fixture.expect_close(choice.selected.mask_BLE()[0], "out." + rule + ".mask");
    fixture.expect_close(choice.weight_TE, "out." + rule + ".weight");
    choice.weight_TE.mul(fixture.in("cotangent")).sum().backward();
    fixture.expect_close(x.grad(), "grad." + rule + ".x");
  }
  fixture.expect_all_checked();
}

// The fixture's numbers stand for x W, x N and the noise, so the loss and the weights are formed
// from them; the next test is of the router that makes them.
REFERENCE_TEST(NoisyRouterCases, LossesMatchTheReference, "routing/kind_noisy_topk") {
  const Json& config = fixture.config();
  const double active = config.at("k").as_double();
  const at::Tensor clean = fixture.in("logits").clone().set_requires_grad(true);
  const at::Tensor raw = fixture.in("noise_raw").clone().set_requires_grad(true);
  const at::Tensor scale = raw.exp().log1p().add(
      fixture.number_in("noisy", "softplus\\(in\\.noise_raw\\)\\+([0-9][0-9.eE+-]*)"));
  const at::Tensor noisy = clean.add(fixture.in("noise").mul(scale));
  fixture.expect_close(noisy, "out.noisy");
  const Scores scores = testing::scores_of("identity", noisy.unsqueeze(0));
  const Selected selected =
      Selector("kind = \"token\"", scores.gate_BLE.sizes(), active).select(scores);
  fixture.expect_close(selected.mask_BLE()[0], "out.mask");
  const at::Tensor weights = testing::weights_of("kind = \"softmax\"", scores, selected)[0];
  fixture.expect_close(weights, "out.weight");
  fixture.expect_close(weights.sum(0), "out.importance");

  RoutingRecord record = testing::record_of(scores, selected, active, "kind = \"softmax\"");
  record.extras = {{"clean_logits", clean.unsqueeze(0)}, {"noise_scale", scale.unsqueeze(0)}};
  fixture.expect_close(expected_load(record)[0].sum(0), "out.load");
  const at::Tensor importance = testing::loss_of("importance", record);
  const at::Tensor load = testing::loss_of("load", record);
  fixture.expect_close(importance, "out.cv2_importance");
  fixture.expect_close(load, "out.cv2_load");
  weights.mul(fixture.in("cotangent")).sum().add(importance).add(load).backward();
  fixture.expect_close(clean.grad(), "grad.logits");
  fixture.expect_close(raw.grad(), "grad.noise_raw");
  fixture.expect_all_checked();
}

// N = 0 at first: the noise has the scale softplus(0) + 0.01 = 0.7031 (the notes on T2MIR).
TEST(NoisyRouter, AddsKeyedNoiseInTrainingOnly) {
  Routing router(
      "kind = \"noisy\"", 4, 8,
      {{"router.gate.weight", at::zeros({8, 4})}, {"router.noise.weight", at::zeros({8, 4})}});
  const at::Tensor x = random_normal({4, 64, 4}, "x");
  const auto noise = [&](uint64_t sample) {
    return router.forward(
        x, {.training = true, .noise = {.seed = 3, .purpose = "test", .sample = sample}});
  };
  const Routed first = noise(10);
  EXPECT_TRUE(first.extras.at("noise_scale").sub(0.7031f).abs().lt(1e-4).all().item<bool>());
  EXPECT_NEAR(first.logits_BLE.std(/*unbiased=*/true).item<double>(), 0.7031, 0.05);
  EXPECT_TRUE(first.logits_BLE.equal(noise(10).logits_BLE));
  // A sample keeps its noise whatever its place in the batch.
  EXPECT_TRUE(first.logits_BLE[2].equal(noise(12).logits_BLE[0]));
  EXPECT_TRUE(router.forward(x, {.training = false}).logits_BLE.eq(0).all().item<bool>());
}

REFERENCE_TEST(PrototypeRouterCases, ProMoeMatchesTheReference, "routing/kind_promoe") {
  const Json& config = fixture.config();
  const double active = config.at("k").as_double();
  Routing router("kind = \"prototype\"", config.at("D").as_int(), config.at("E").as_int(),
                 {{"router.prototypes.weight", fixture.in("prototypes")}});
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  // One token a sample, so that labels are those of tokens.
  const Routed routed = router.forward(x.unsqueeze(1));
  const Scores scores = testing::scores_of("identity", routed.logits_BLE);
  fixture.expect_close(routed.logits_BLE.squeeze(1), "out.scores");
  const Selector selector("kind = \"conditional\"", scores.gate_BLE.sizes(), active);
  const Selected selected = selector->select(
      scores, {.training = true, .unconditional_B = fixture.in("null_label").to(at::kBool)});
  fixture.expect_close(selected.mask_BLE().squeeze(1), "out.mask");
  const at::Tensor weights = testing::weights_of("kind = \"gate\"", scores, selected).squeeze(1);
  fixture.expect_close(weights, "out.weight");
  weights.mul(fixture.in("cotangent")).sum().backward({}, /*retain_graph=*/true);
  fixture.expect_close(x.grad(), "grad.weight.x");
  fixture.expect_close(router.gradient("prototypes.weight"), "grad.weight.prototypes");

  RoutingRecord record = testing::record_of(scores, selected, active);
  record.x_BLD = x.unsqueeze(1);
  record.extras = routed.extras;
  x.mutable_grad().reset();
  routed.extras.at("prototypes").mutable_grad().reset();
  const at::Tensor loss =
      testing::loss_of("contrastive", record, "temperature = " + config.at("temperature").dump());
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.loss.x");
  fixture.expect_close(router.gradient("prototypes.weight"), "grad.loss.prototypes");
  fixture.expect_all_checked();
}

TEST(Contrastive, IsLogOfTheExpertsForEqualCosinesAndZeroForOne) {
  const at::Tensor same = at::zeros({3, 2}).add(1), x = random_normal({6, 2}, "x");
  const at::Tensor each = at::zeros({6, 3}, at::TensorOptions(at::kBool));
  for (int64_t t = 0; t < 6; ++t) each[t][t % 3].fill_(true);
  EXPECT_NEAR(contrastive(same, x.select(0, 0).expand({6, 2}), each, 0.07).item<double>(),
              std::log(3.0), 1e-5);
  const at::Tensor one = at::zeros({6, 3}, at::TensorOptions(at::kBool));
  one.select(1, 1).fill_(true);
  EXPECT_EQ(contrastive(same, x, one, 0.07).item<double>(), 0);
}

// Cosines do not see the length of a token; a token of zeros has a cosine of 0 and a gradient.
TEST(Cosine, OfScaledAndOfEmptyRows) {
  const at::Tensor x = random_normal({4, 3}, "x"), y = random_normal({2, 3}, "y");
  testing::expect_close(cosines(x.mul(7), y), cosines(x, y.mul(0.1)), 1e-5, 1e-6, "scaled");
  const at::Tensor zero = at::zeros({1, 3}).set_requires_grad(true);
  const at::Tensor cosine = cosines(zero, y);
  EXPECT_TRUE(cosine.eq(0).all().item<bool>());
  cosine.sum().backward();
  EXPECT_TRUE(zero.grad().isfinite().all().item<bool>());
}

TEST(TimestepRouter, AllTokensOfASampleShareARoute) {
  const at::Tensor W = random_normal({3, 4}, "W"), b = random_normal({3}, "b");
  Routing router("kind = \"timestep\"", 4, 3, {{"router.gate.weight", W}, {"router.gate.bias", b}});
  const at::Tensor time = random_normal({2, 4}, "time");
  const at::Tensor logits =
      router.forward(random_normal({2, 5, 4}, "x"), {.training = true, .time_embedding_BD = time})
          .logits_BLE;
  const at::Tensor expected = time.mul(time.sigmoid()).matmul(W.t()).add(b);
  for (int64_t l = 0; l < 5; ++l) {
    testing::expect_close(logits.select(1, l), expected, 1e-5, 1e-6, "logits");
  }
  EXPECT_THAT(testing::message_of([&] { router.forward(random_normal({2, 5, 4}, "x")); }),
              ::testing::HasSubstr("router: a timestep router needs a model that embeds"));
}

TEST(LinearRouter, MayBeFrozen) {
  nn::Module root;
  const auto router = testing::make<Router>("kind = \"linear\"\nbias = true\nfrozen = true",
                                            {.parent = &root, .D = 4, .experts = 2});
  for (const nn::Parameter* parameter : root.parameters()) EXPECT_FALSE(parameter->trainable());
  EXPECT_EQ(root.parameters().size(), 2u);
}

TEST(Routers, CarryTheTargetHeadIfALossAsksForIt) {
  for (const auto* info : config::components_of("router")) {
    nn::Module root;
    const auto router =
        testing::make<Router>("kind = \"" + info->kind + "\"",
                              {.parent = &root, .D = 4, .experts = 2, .target_width = 3});
    const nn::Parameter* head = root.find_parameter("router.target.weight");
    ASSERT_NE(head, nullptr) << info->kind;
    EXPECT_EQ(head->shape(), (std::vector<int64_t>{3, 4})) << info->kind;
  }
}

}  // namespace
}  // namespace gallop::sparse
