#include "gallop/sparse/layers/moe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "gallop/base/error.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/ops/linear.h"
#include "gallop/sparse/statistics.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::random_normal;
using testing::tensor_of;

// The default router and experts, whose activation the cases name.
void expect_activations(const Fixture& fixture) {
  fixture.expect_constant("router_activation", "gelu_tanh");
  fixture.expect_constant("expert_activation", "gelu_tanh");
}

// A sparse layer on its own, its parameters named "moe.*".
class Layer {
 public:
  Layer(const std::string& settings, int64_t D, int64_t tokens, int64_t target_width = 0)
      : layer_(testing::make<nn::FeedForward>("kind = \"moe\"\n" + settings,
                                              {.parent = &root_,
                                               .D = D,
                                               .tokens = tokens,
                                               .target_width = target_width,
                                               .layers = 1})) {}
  nn::Module& root() { return root_; }
  nn::Parameter& parameter(const std::string& name) { return *root_.find_parameter(name); }
  at::Tensor forward(const at::Tensor& x_BLD, RoutingRecord& record, bool training = true) const {
    std::vector<RoutingRecord> records;
    const at::Tensor y_BLD = layer_->forward(x_BLD, {.training = training, .routing = &records});
    record = std::move(records.at(0));
    return y_BLD;
  }

 private:
  nn::Module root_;
  std::unique_ptr<nn::FeedForward> layer_;
};

std::string settings_of(const Json& config, const std::string& rest) {
  std::ostringstream toml;
  toml << "experts = " << config.at("E").as_int() << "\nactive = " << config.at("k").dump()
       << "\nhidden = " << config.at("hidden").as_int() << "\n"
       << rest;
  return toml.str();
}

REFERENCE_TEST(RaceLayerCases, MatchTheReference, "moe/race") {
  const Json& config = fixture.config();
  expect_activations(fixture);
  Layer layer(
      settings_of(config,
                  "gate = \"" + config.at("gate").as_string() +
                      "\"\nselection = { kind = \"race\", warmup = false, momentum = " +
                      config.at("threshold_momentum").dump() +
                      " }\nlosses = { per_layer = { weight = " + config.at("lambda_plr").dump() +
                      " }, router_similarity = { weight = " + config.at("lambda_rsl").dump() +
                      " } }"),
      config.at("D").as_int(), config.at("L").as_int(), config.at("target_width").as_int());
  testing::load(layer.root(), fixture.with_prefix("weight."));

  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  RoutingRecord record;
  const at::Tensor y = layer.forward(x, record);
  fixture.expect_close(record.logits_BLE, "out.logits");
  fixture.expect_close(record.kept.mask_BLE(), "out.mask");
  fixture.expect_close(record.kappa.reshape({}), "out.kappa");
  fixture.expect_close(record.head_BLH, "out.head");
  fixture.expect_close(record.kept.offsets(), "out.offsets");
  fixture.expect_close(record.kept.token_P(), "out.tokens");
  fixture.expect_close(record.kept.loads(), "out.loads");
  fixture.expect_close(y, "out.y");
  const at::Tensor zero = at::zeros({}, at::TensorOptions(at::kDouble));
  fixture.expect_close(zero + max_violation(record.kept.loads()), "out.maxvio");
  fixture.expect_close(zero + combination_usage(record.kept.mask_BLE().flatten(0, 1)),
                       "out.combination_usage_percent");

  at::Tensor loss = y.mul(fixture.in("cotangent")).sum();
  record.logits_BLE.retain_grad();
  loss.backward({}, /*retain_graph=*/true);
  fixture.expect_close(record.logits_BLE.grad(), "out.logits_grad_of_y");
  // Point 4 of the notes on the paper: nothing reaches the score of a pair that was not kept.
  EXPECT_TRUE(record.logits_BLE.grad()
                  .masked_select(record.kept.mask_BLE().logical_not())
                  .eq(0)
                  .all()
                  .item<bool>());
  for (nn::Parameter* parameter : layer.root().parameters()) (**parameter).mutable_grad().reset();
  x.mutable_grad().reset();

  for (const auto& part : *record.losses) {
    const at::Tensor value = part->value(record, fixture.in("target"));
    fixture.expect_close(value, part->kind() == "per_layer" ? "out.plr" : "out.rsl");
    loss = loss.add(value, part->weight());
  }
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  for (nn::Parameter* parameter : layer.root().parameters()) {
    if (!parameter->trainable()) continue;
    fixture.expect_close(testing::gradient_of(*parameter), "grad." + parameter->name());
  }

  nn::Parameter& threshold = layer.parameter("moe.router.threshold");
  for (const PendingUpdate& update : record.pending) update.commit(0);
  fixture.expect_close(*threshold, "out.threshold");

  threshold->fill_(config.at("infer_threshold").as_double());
  const at::Tensor inferred = layer.forward(x, record, /*training=*/false);
  fixture.expect_close(record.kept.mask_BLE(), "out.infer.mask");
  fixture.expect_close(inferred, "out.infer.y");
  EXPECT_FALSE(record.head_BLH.defined());
  fixture.expect_all_checked();

  // Tokens that nobody took get exactly 0.
  const at::Tensor starved = fixture.out("mask").sum(-1, /*keepdim=*/true).eq(0);
  EXPECT_TRUE(y.detach().masked_select(starved).eq(0).all().item<bool>());
}

REFERENCE_TEST(MoeCases, StrategiesAndGatesMatchTheReference, "moe/strategies") {
  const Json& config = fixture.config();
  expect_activations(fixture);
  for (const Json& strategy_json : config.at("strategies").as_array()) {
    for (const Json& gate_json : config.at("gates").as_array()) {
      const std::string &strategy = strategy_json.as_string(), &gate = gate_json.as_string();
      Layer layer(settings_of(config, "gate = \"" + gate + "\"\nselection = \"" + strategy + "\""),
                  config.at("D").as_int(), config.at("L").as_int());
      auto weights = fixture.with_prefix("weight.");
      // The file has no thresholds, which some strategies keep.
      if (const nn::Parameter* threshold = layer.root().find_parameter("moe.router.threshold")) {
        weights["moe.router.threshold"] = at::zeros(threshold->shape());
      }
      testing::load(layer.root(), weights);
      const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
      RoutingRecord record;
      const at::Tensor y = layer.forward(x, record);
      const std::string name = strategy + "." + gate + ".";
      fixture.expect_close(y, "out." + name + "y");
      fixture.expect_close(record.kept.mask_BLE(), "out." + name + "mask");
      y.mul(fixture.in("cotangent")).sum().backward();
      fixture.expect_close(x.grad(), "grad." + name + "x");
      for (const std::string& parameter : fixture.names_with_prefix("grad." + name + "moe.")) {
        fixture.expect_close(testing::gradient_of(layer.parameter("moe." + parameter)),
                             "grad." + name + "moe." + parameter);
      }
    }
  }
  fixture.expect_all_checked();
}

// A layer whose router gives back its input: D = E, a linear router with the identity matrix.
class HandLayer : public Layer {
 public:
  HandLayer(int64_t E, double active, int64_t tokens)
      : Layer("experts = " + std::to_string(E) + "\nactive = " + std::to_string(active) +
                  "\nhidden = 5\nrouter = \"linear\"",
              E, tokens) {
    root().materialize(/*seed=*/1);
    parameter("moe.router.gate.weight").set_value(at::eye(E));
  }
  /// Expert e on one token [D].
  at::Tensor expert(int64_t e, const at::Tensor& x_D) {
    const auto part = [&](const char* name) {
      return (*parameter(std::string("moe.experts.") + name))[e];
    };
    return ops::linear(ops::gelu_tanh(ops::linear(x_D, part("fc1.weight"), part("fc1.bias"))),
                       part("fc2.weight"), part("fc2.bias"));
  }
};

// Point 1: with k = E every expert answers, weighted by its score.
TEST(Moe, AllExpertsActiveIsTheWeightedSum) {
  HandLayer layer(3, 3, 4);
  const at::Tensor x = random_normal({1, 4, 3}, "x");
  RoutingRecord record;
  const at::Tensor y = layer.forward(x, record);
  for (int64_t t = 0; t < 4; ++t) {
    at::Tensor sum = at::zeros({3});
    for (int64_t e = 0; e < 3; ++e) sum = sum + x[0][t][e] * layer.expert(e, x[0][t]);
    testing::expect_close(y[0][t], sum, 1e-5, 1e-6, "token");
  }
}

// Point 3: B = 1, L = 2, E = 3.
TEST(Moe, TinyRoutingByHand) {
  const at::Tensor S = tensor_of({2, 1, -1, 0.5, 1.5, -2}).reshape({1, 2, 3});
  RoutingRecord record;
  HandLayer one(3, 1, 2);
  const at::Tensor y = one.forward(S, record);
  EXPECT_EQ(record.kappa.item<float>(), 1.5f);
  EXPECT_TRUE(
      record.kept.mask_BLE().equal(tensor_of({1, 0, 0, 0, 1, 0}).reshape({1, 2, 3}).to(at::kBool)));
  testing::expect_close(y[0][0], one.expert(0, S[0][0]).mul(2), 1e-5, 1e-6, "y_0");
  testing::expect_close(y[0][1], one.expert(1, S[0][1]).mul(1.5), 1e-5, 1e-6, "y_1");

  HandLayer more(3, 1.5, 2);
  more.forward(S, record);
  EXPECT_EQ(record.kappa.item<float>(), 1);
  EXPECT_TRUE(
      record.kept.mask_BLE().equal(tensor_of({1, 1, 0, 0, 1, 0}).reshape({1, 2, 3}).to(at::kBool)));
}

// Point 4: both selections fall on token 0.
TEST(Moe, AStarvedTokenGetsExactlyZero) {
  const at::Tensor S = tensor_of({2, 1.8f, -1, 0.5, 0.2f, -2}).reshape({1, 2, 3});
  HandLayer layer(3, 1, 2);
  RoutingRecord record;
  const at::Tensor y = layer.forward(S, record);
  EXPECT_TRUE(y[0][1].eq(0).all().item<bool>());
  EXPECT_TRUE(y[0][0].ne(0).any().item<bool>());
}

TEST(Moe, SettingNamesExpertsAndActive) {
  MoeSettings settings;
  settings.setting = "4-in-32";
  EXPECT_EQ(settings.candidates().experts, 32);
  EXPECT_EQ(settings.candidates().active, 4);
  EXPECT_EQ(settings.hidden_of(768), 768);  // 4 * 768 / 4
  settings.setting = "1.5-in-8";
  EXPECT_EQ(settings.candidates().active, 1.5);
  EXPECT_EQ(settings.hidden_of(64), 128);  // split 2
  settings.setting = "3-in-9";
  settings.validate();
  EXPECT_EQ(settings.hidden_of(96), 128);
}

std::string error_of(const std::string& settings) {
  return testing::message_of([&] { const Layer layer(settings, 12, 4); });
}

TEST(Moe, RefusesImpossibleSizes) {
  EXPECT_THAT(error_of("experts = 4\nactive = 5"), HasSubstr("5 active experts of 4"));
  EXPECT_THAT(error_of("setting = \"9-in-8\""), HasSubstr("9 active experts of 8"));
  for (const char* wrong :
       {"4in32", "4-in-", "-in-8", "0-in-8", "2-in-8x", "nan-in-8", "2-in-99999999999999999999"}) {
    EXPECT_THAT(error_of("setting = \"" + std::string(wrong) + "\""), HasSubstr("k-in-E")) << wrong;
  }
  EXPECT_THAT(error_of("split = 5"), HasSubstr("not divisible by the split 5"));
  EXPECT_THAT(error_of("active = 0"), HasSubstr("out of range"));
  EXPECT_EQ(error_of("split = 5\nhidden = 7"), "no error");
}

}  // namespace
}  // namespace gallop::sparse
