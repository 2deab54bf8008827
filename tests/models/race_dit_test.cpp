#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "gallop/models/counts.h"
#include "gallop/models/denoiser.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using testing::random_normal;
using testing::tensor_of;

std::unique_ptr<Denoiser> model_of(const Json& config) {
  std::ostringstream toml;
  toml << "kind = \"dit\"\ndepth = " << config.at("depth").as_int()
       << "\nwidth = " << config.at("D").as_int() << "\nheads = " << config.at("heads").as_int()
       << "\npatch = " << config.at("patch").as_int()
       << "\n[part.mlp]\nkind = \"moe\"\nexperts = " << config.at("E").as_int()
       << "\nactive = " << config.at("k").dump() << "\nhidden = " << config.at("hidden").as_int()
       << "\nselection = { kind = \"race\", warmup = false, momentum = "
       << config.at("threshold_momentum").dump() << " }"
       << "\nlosses.router_similarity.weight = " << config.at("lambda_rsl").dump()
       << "\nlosses.per_layer = { weight = " << config.at("lambda_plr").dump() << ", reduction = \""
       << config.at("plr_reduction").as_string() << "\" }";
  const int64_t side = config.at("image").as_int();
  return testing::make<Denoiser>(toml.str(),
                                 {.channels = config.at("channels").as_int(),
                                  .height = side,
                                  .width = side,
                                  .classes = config.at("classes").as_int(),
                                  .predicts_sigma = config.at("learn_sigma").as_bool()});
}

REFERENCE_TEST(RaceDitCases, TrainingAndInferenceMatchTheReference, "moe/racedit") {
  fixture.expect_constant("gate", "identity");
  fixture.expect_constant("router_activation", "gelu_tanh");
  fixture.expect_constant("expert_activation", "gelu_tanh");
  const auto model = model_of(fixture.config());
  testing::load(*model, fixture.with_prefix("weight."));
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  std::vector<sparse::RoutingRecord> routing;
  nn::Taps taps;
  const at::Tensor output = model->forward(x, {.training = true,
                                               .timestep_B = fixture.in("t"),
                                               .label_B = fixture.in("y"),
                                               .routing = &routing,
                                               .taps = &taps});
  fixture.expect_close(output, "out.output");

  const at::Tensor target = fixture.in("target");
  const at::Tensor mse = output.narrow(1, 0, target.size(1)).sub(target).square().mean();
  fixture.expect_close(mse, "out.mse");
  std::map<std::string, at::Tensor> sums;
  at::Tensor loss = mse;
  for (size_t i = 0; i < routing.size(); ++i) {
    for (const auto& part : *routing[i].losses) {
      const at::Tensor value = part->value(routing[i], model->to_tokens(target));
      if (part->kind() == "router_similarity") {
        fixture.expect_close(value, "out.blocks." + std::to_string(i) + ".rsl");
      }
      at::Tensor& sum = sums[part->kind()];
      sum = sum.defined() ? sum + value : value;
      loss = loss.add(value, part->weight());
    }
  }
  fixture.expect_close(sums.at("per_layer"), "out.plr");
  fixture.expect_close(sums.at("router_similarity"), "out.rsl");
  fixture.expect_close(loss, "out.loss");

  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter->trainable()) {
      fixture.expect_close(testing::gradient_of(*parameter), "grad." + parameter->name());
    }
  }

  const std::map<std::string, at::Tensor> tapped(taps.tensors.begin(), taps.tensors.end());
  ASSERT_EQ(static_cast<int64_t>(routing.size()), fixture.config().at("depth").as_int());
  for (size_t i = 0; i < routing.size(); ++i) {
    const std::string index = std::to_string(i), out = "out.blocks." + index + ".";
    EXPECT_EQ(routing[i].layer, "blocks." + index + ".moe");
    fixture.expect_close(routing[i].logits_BLE, out + "logits");
    fixture.expect_close(routing[i].kept.mask_BLE(), out + "mask");
    fixture.expect_close(routing[i].kappa.reshape({}), out + "kappa");
    fixture.expect_close(tapped.at("block." + index + ".mlp_input"), out + "moe_input");
    fixture.expect_close(tapped.at("block." + index + ".mlp"), out + "moe_output");
    for (const sparse::PendingUpdate& update : routing[i].pending) update.commit(0);
    const nn::Parameter& threshold = *routing[i].selection->threshold();
    EXPECT_EQ(threshold.name(), "blocks." + index + ".moe.router.threshold");
    fixture.expect_close(*threshold, out + "threshold");
    threshold->fill_(fixture.config().at("infer_thresholds").as_array()[i].as_double());
  }

  std::vector<sparse::RoutingRecord> inferred;
  const at::Tensor inference = model->forward(
      fixture.in("x"),
      {.timestep_B = fixture.in("t"), .label_B = fixture.in("y"), .routing = &inferred});
  fixture.expect_close(inference, "out.infer.output");
  for (size_t i = 0; i < inferred.size(); ++i) {
    fixture.expect_close(inferred[i].kept.mask_BLE(),
                         "out.infer.blocks." + std::to_string(i) + ".mask");
  }
  fixture.expect_all_checked();
}

// Points 4 and 7 of the verification list of Expert Race, on weights none of which is zero.
class RandomRaceDit : public ::testing::Test {
 protected:
  RandomRaceDit() {
    model->materialize(/*seed=*/0);
    for (nn::Parameter* parameter : model->parameters()) {
      if (!parameter->trainable()) continue;
      parameter->set_value(
          random_normal(parameter->shape(), parameter->name()).mul(0.3).set_requires_grad(true));
    }
    for (const int block : {0, 1}) {
      (**model->find_parameter("blocks." + std::to_string(block) + ".moe.router.threshold"))
          .fill_(-0.25);
    }
  }
  // The outputs for samples 0..count-1.
  at::Tensor run(int64_t count, bool training) const {
    return model
        ->forward(x.narrow(0, 0, count), {.training = training,
                                          .timestep_B = t.narrow(0, 0, count),
                                          .label_B = y.narrow(0, 0, count)})
        .detach();
  }
  const at::Tensor x = random_normal({3, 4, 8, 8}, "x"), t = tensor_of({10, 300, 600}),
                   y = tensor_of({1, 5, 3}).to(at::kLong);
  const std::unique_ptr<Denoiser> model = testing::make<Denoiser>(
      "kind = \"dit\"\ndepth = 2\nwidth = 32\nheads = 4\npatch = 2\nmlp = { kind = \"moe\", "
      "experts = "
      "4, active = 2, hidden = 64, selection = \"race\" }",
      {.channels = 4, .height = 8, .width = 8, .classes = 5, .predicts_sigma = false});
};

TEST_F(RandomRaceDit, InferenceOfASampleDoesNotSeeTheOthers) {
  testing::expect_close(run(3, false).narrow(0, 0, 1), run(1, false), 1e-5, 1e-5, "inference");
}

TEST_F(RandomRaceDit, TrainingLetsSamplesCompete) {
  const at::Tensor difference = run(3, true).narrow(0, 0, 1).sub(run(1, true));
  EXPECT_GT(difference.abs().max().item<double>(), 1e-2);
}

TEST_F(RandomRaceDit, AStarvedTokenKeepsItsResidual) {
  nn::Taps taps;
  std::vector<sparse::RoutingRecord> routing;
  const auto forward = [&] {
    routing.clear();
    taps.tensors.clear();
    model->forward(x, {.timestep_B = t, .label_B = y, .routing = &routing, .taps = &taps});
  };
  forward();
  // A threshold that half of the tokens do not reach with any expert.
  (**routing[0].selection->threshold()).copy_(routing[0].logits_BLE.detach().amax(-1).median());
  forward();
  const at::Tensor starved_BL1 = routing[0].kept.mask_BLE().any(-1, /*keepdim=*/true).logical_not();
  ASSERT_GT(starved_BL1.sum().item<int64_t>(), 20);  // of 48
  // Block 0 adds gate1 * attention to what enters, and for such a token nothing more.
  const std::map<std::string, at::Tensor> tapped(taps.tensors.begin(), taps.tensors.end());
  const at::Tensor entered = tapped.at("x_embed").add(**model->find_parameter("pos_embed"));
  const at::Tensor gate1 = tapped.at("block.0.adaln").chunk(6, 1)[2].unsqueeze(1);
  const at::Tensor between = entered.add(gate1.mul(tapped.at("block.0.attn")));
  EXPECT_TRUE(
      tapped.at("block.0").masked_select(starved_BL1).equal(between.masked_select(starved_BL1)));
}

// Point 8: at step 0 the adaLN gates are 0, so that nothing of the main loss reaches a router.
TEST(RaceDit, RoutersStartOnTheSparseLossesAlone) {
  const auto router_gradient = [](const std::string& losses) {
    const auto model = testing::make<Denoiser>(
        "kind = \"dit\"\ndepth = 2\nwidth = 16\nheads = 2\npatch = 4\nmlp = { kind = \"moe\", "
        "experts = 4, losses = { " +
            losses + " } }",
        {.channels = 1, .height = 16, .width = 16});
    model->materialize(0);
    std::vector<sparse::RoutingRecord> routing;
    const at::Tensor target = random_normal({2, 1, 16, 16}, "target");
    const at::Tensor output = model->forward(
        random_normal({2, 1, 16, 16}, "x"),
        {.training = true, .timestep_B = tensor_of({0.25, 0.5}), .routing = &routing});
    at::Tensor loss = output.sub(target).square().mean();
    for (const auto& record : routing) {
      for (const auto& part : *record.losses) {
        loss = loss.add(part->value(record, model->to_tokens(target)), part->weight());
      }
    }
    loss.backward();
    double largest = 0;
    for (const nn::Parameter* parameter : model->parameters()) {
      if (parameter->name().find("router.hidden.weight") == std::string::npos) continue;
      largest = std::max(largest, testing::gradient_of(*parameter).abs().max().item<double>());
    }
    return largest;
  };
  EXPECT_EQ(router_gradient(""), 0);
  EXPECT_GT(router_gradient("router_similarity = { weight = 1 }"), 0);
  EXPECT_GT(router_gradient("per_layer = { weight = 1 }"), 0);
}

// Point 9: what the paper prints for 256x256 images, in billions of parameters.
struct Published {
  const char* size;
  const char* setting;  ///< "": dense
  double total, active;
};

class PublishedCounts : public ::testing::TestWithParam<Published> {};

Counts count_of(const std::string& size, const std::string& setting) {
  const std::string mlp = setting.empty() ? "mlp = \"dense\""
                                          : "mlp = { kind = \"moe\", setting = \"" + setting +
                                                "\", losses = { per_layer = { weight = 0.01 } } }";
  return count(*testing::make<Denoiser>(
      "kind = \"dit\"\nsize = \"" + size + "\"\n" + mlp,
      {.channels = 4, .height = 32, .width = 32, .classes = 1000, .predicts_sigma = true}));
}

TEST_P(PublishedCounts, AreReproduced) {
  const Published& want = GetParam();
  const Counts counts = count_of(want.size, want.setting);
  EXPECT_NEAR(static_cast<double>(counts.paper_total) / 1e9, want.total, 0.0005);
  EXPECT_NEAR(counts.paper_active / 1e9, want.active, 0.0005);
}

// Tables 4 and 7 of Expert Race. L/2-MoE is printed as 1.889: 0.3 million more than the rule gives.
INSTANTIATE_TEST_SUITE_P(
    All, PublishedCounts,
    ::testing::Values(Published{"B/2", "", 0.127, 0.127}, Published{"M/2", "", 0.265, 0.265},
                      Published{"L/2", "", 0.453, 0.453}, Published{"XL/2", "", 0.669, 0.669},
                      Published{"B/2", "4-in-32", 0.531, 0.135},
                      Published{"M/2", "4-in-32", 1.106, 0.281},
                      Published{"L/2", "4-in-32", 1.8882, 0.479},
                      Published{"XL/2", "4-in-32", 2.788, 0.707}),
    [](const auto& info) {
      std::string name = std::string(info.param.size) + (*info.param.setting ? "MoE" : "Dense");
      name.erase(name.find('/'), 1);
      return name;
    });

// 18 D^2 a dense block; 75 D^2 + 32 D (19 D^2 + 32 D active) a block of 4-in-32.
TEST(RaceDit, CountsFollowTheFormula) {
  constexpr int64_t D = 1152, N = 28;
  EXPECT_EQ(count_of("XL/2", "").paper_total, 18 * D * D * N);
  const Counts moe = count_of("XL/2", "4-in-32");
  EXPECT_EQ(moe.paper_total, (75 * D * D + 32 * D) * N);
  EXPECT_DOUBLE_EQ(moe.paper_active, static_cast<double>((19 * D * D + 32 * D) * N));
  // In full: biases, embedders, the final layer and the heads too, at 4 * 2 * 2 numbers a token.
  constexpr int64_t block = 75 * D * D + 32 * D               // weight matrices
                            + (4 + 6) * D                     // biases of attention and modulation
                            + D + 32                          // of the router
                            + 32 * (D + D)                    // of the experts, each D wide
                            + 16 * D + 16;                    // the head
  constexpr int64_t rest = (16 + 1) * D                       // patches
                           + (256 + 1) * D + (D + 1) * D      // time
                           + 1001 * D + 256 * D               // classes, positions
                           + 2 * (D + 1) * D + 32 * (D + 1);  // final layer
  EXPECT_EQ(moe.total, N * block + rest);
  EXPECT_EQ(moe.trainable, N * block + rest - 256 * D);
}

// Table 5 leaves the router out: 0.524 for the model that Table 4 calls 0.531.
TEST(RaceDit, CountsWithoutTheRouter) {
  const auto billions = [](const std::string& setting, int64_t E) {
    constexpr int64_t D = 768, N = 12;
    return static_cast<double>(count_of("B/2", setting).paper_total - N * (D * D + E * D)) / 1e9;
  };
  EXPECT_NEAR(billions("4-in-32", 32), 0.524, 0.0005);
  EXPECT_NEAR(billions("1-in-4", 4), 0.297, 0.0005);
  EXPECT_NEAR(billions("2-in-32", 32), 0.977, 0.0005);
  EXPECT_NEAR(billions("8-in-128", 128), 0.977, 0.0005);
}

// Fewer experts cost less also where the recipe uses all of them; shared ones always cost all.
TEST(MultiplyAdds, FollowTheExpertsThatTokensChoose) {
  const auto model = testing::make<Denoiser>(
      "kind = \"dit\"\ndepth = 2\nwidth = 8\nheads = 2\npatch = 2\n"
      "mlp = { kind = \"moe\", setting = \"4-in-4\", hidden = 16, expert = { kind = \"shared\" } }",
      {.channels = 1, .height = 4, .width = 4, .classes = 3});
  constexpr double blocks = 2, tokens = 4, expert = 2 * 8 * 16;
  EXPECT_EQ(multiply_adds_with(*model, 1) - multiply_adds_with(*model, 0.25),
            blocks * tokens * 3 * expert);
  EXPECT_EQ(multiply_adds_with(*model, 1), count(*model).multiply_adds);
}

}  // namespace
}  // namespace gallop::models
