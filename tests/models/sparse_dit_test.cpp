// Recipes of the further kinds in a whole DiT: what a recipe names can be trained.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "gallop/config/registry.h"
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

// Two blocks of width 8 on 4x4 images: four tokens. All values are random, so that nothing is
// hidden by gates that start at zero.
class Dit {
 public:
  explicit Dit(const std::string& toml)
      : model_(testing::make<Denoiser>(
            "kind = \"dit\"\ndepth = 2\nwidth = 8\nheads = 2\npatch = 2\nlabel_dropout = 0.5\n" +
                toml,
            {.channels = 1, .height = 4, .width = 4, .classes = 3})) {
    model_->materialize(/*seed=*/0);
    for (nn::Parameter* parameter : model_->parameters()) {
      if (!parameter->trainable()) continue;
      parameter->set_value(
          random_normal(parameter->shape(), parameter->name()).mul(0.3).set_requires_grad(true));
    }
  }
  // Four samples, the last without a label.
  at::Tensor forward(bool training, int64_t first = 0, int64_t count = 4) {
    routing.clear();
    const at::Tensor label = tensor_of({0, 1, 2, 3}).to(at::kLong).narrow(0, first, count);
    return model_->forward(random_normal({4, 1, 4, 4}, "x").narrow(0, first, count),
                           {.training = training,
                            .timestep_B = tensor_of({10, 300, 600, 990}).narrow(0, first, count),
                            .label_B = label,
                            .noise = {.seed = 1, .purpose = "test"},
                            .routing = &routing});
  }
  // One training step without an optimizer: every trainable parameter that `part` names has a
  // gradient, all are finite.
  void expect_trainable(const std::string& part) {
    const at::Tensor y = forward(/*training=*/true);
    at::Tensor loss = y.square().sum();
    const at::Tensor target = model_->to_tokens(random_normal({4, 1, 4, 4}, "target"));
    for (const auto& total : sparse::total_losses(routing, target)) {
      EXPECT_TRUE(total.value.isfinite().item<bool>()) << total.kind;
      loss = loss.add(total.value, total.weight);
    }
    loss.backward();
    int found = 0;
    for (const nn::Parameter* parameter : model_->parameters()) {
      if (!parameter->trainable()) continue;
      const at::Tensor gradient = testing::gradient_of(*parameter);
      EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << parameter->name();
      if (parameter->name().find(part) == std::string::npos) continue;
      ++found;
      EXPECT_TRUE(gradient.ne(0).any().item<bool>()) << parameter->name();
    }
    EXPECT_GT(found, 0) << part;
    for (sparse::RoutingRecord& record : routing) {
      for (const sparse::PendingUpdate& update : record.pending) update.commit(0);
    }
  }
  void expect_samples_apart() {
    const at::Tensor y = forward(/*training=*/false);
    for (const int64_t b : {1, 3}) {
      testing::expect_close(forward(/*training=*/false, b, 1), y.narrow(0, b, 1), 1e-4, 1e-5,
                            "sample");
    }
  }

  std::vector<sparse::RoutingRecord> routing;  ///< of the last forward

 private:
  std::unique_ptr<Denoiser> model_;
};

TEST(SparseDit, EveryBlockRoutingTrainsAndKeepsSamplesApart) {
  for (const auto* info : config::components_of("block_routing")) {
    SCOPED_TRACE(info->kind);
    Dit model("block_routing = { kind = \"" + info->kind +
              "\" }\nmlp = { kind = \"moe\", setting = \"2-in-4\" }");
    model.expect_trainable(info->kind == "all" ? "attn" : ".routing.");
    model.expect_samples_apart();
  }
}

// A block of width 8 has 768 weights, 72 biases and, for four tokens, 2 * 4 * 4 * 8 products of
// scores and values; a router scores every token.
TEST(SparseDit, CountsWhatABlockRoutingWorksOn) {
  const auto counts = [](const std::string& block_routing) {
    return count(*testing::make<Denoiser>(
        "kind = \"dit\"\ndepth = 2\nwidth = 8\nheads = 2\npatch = 2\n" + block_routing,
        {.channels = 1, .height = 4, .width = 4, .classes = 3}));
  };
  const Counts all = counts("");
  // The second block on two of the four tokens.
  const Counts mod = counts("block_routing = { kind = \"mod\", share = 0.5, every = 2 }");
  EXPECT_EQ(mod.multiply_adds, all.multiply_adds - 2 * 768 - 256 * 0.75 + 4 * 8);
  EXPECT_EQ(mod.active, all.active - 840 * 0.5 + 9);
  EXPECT_EQ(mod.total, all.total + 9);
  // Both blocks on two of them.
  const Counts p_mod = counts("block_routing = { kind = \"p_mod\", share = 0.5 }");
  EXPECT_EQ(p_mod.multiply_adds, all.multiply_adds - 2 * (2 * 768 + 256 * 0.75 - 4 * 8));
  // Both blocks three times, on four, two and one token.
  const Counts mor = counts("block_routing = { kind = \"mor\", recursions = 3 }");
  EXPECT_EQ(mor.multiply_adds, all.multiply_adds + 2 * (3 * 768 + 256 * 0.3125 + 4 * 24));
  EXPECT_EQ(mor.active, all.active + 2 * 24) << "the same weights again";
}

TEST(SparseDit, EveryRouterAndExpertKindTrains) {
  for (const auto* info : config::components_of("router")) {
    SCOPED_TRACE(info->kind);
    Dit model("mlp = { kind = \"moe\", setting = \"2-in-4\", router = \"" + info->kind +
              "\", weights = \"softmax\" }");
    // The first values of some routers stay, and others are made of the experts alone.
    const bool fixed = info->kind == "centroid" || info->kind == "avg_k";
    model.expect_trainable(fixed ? ".experts." : ".router.");
    model.expect_samples_apart();
  }
  for (const auto* info : config::components_of("experts")) {
    SCOPED_TRACE(info->kind);
    Dit model("mlp = { kind = \"moe\", setting = \"2-in-4\", expert = { kind = \"" + info->kind +
              "\"" + (info->kind == "unequal" ? ", widths = [3, 5, 2, 4]" : "") + " } }");
    model.expect_trainable(".router.");
    model.expect_samples_apart();
  }
}

// Switch-DiT as a recipe: the prior reaches the gates of all blocks through all noise levels.
TEST(SparseDit, SwitchDit) {
  Dit model("block_routing = { kind = \"timestep_mask\", prior = 1 }");
  model.expect_trainable(".routing.gate.");
  ASSERT_EQ(model.routing.size(), 2U);
  EXPECT_EQ(model.routing[1].extra("probabilities").sizes(), at::IntArrayRef({1000, 3}));
  const auto totals = sparse::total_losses(model.routing, {});
  ASSERT_EQ(totals.size(), 1U);
  EXPECT_EQ(totals[0].kind, "diffusion_prior");
  const double value = totals[0].value.item<double>();
  EXPECT_GT(value, 0);
  EXPECT_LT(value, 0.7);
  model.expect_samples_apart();
}

// ProMoE as a recipe: samples without a label go to their own expert, and everybody to the shared.
TEST(SparseDit, ProMoe) {
  Dit model(R"(
[part.mlp]
kind = "moe"
setting = "1-in-3"
router = "prototype"
selection = "conditional"
losses = { contrastive = { weight = 1 } }
[part.mlp.expert]
kind = "shared"
routed = "unconditional"
)");
  model.expect_trainable(".moe.");
  const at::Tensor kept = model.routing.at(0).kept.mask_BLE().sum({1, 2});
  EXPECT_TRUE(kept.equal(tensor_of({4, 4, 4, 0}).to(at::kLong)));
  model.expect_samples_apart();
}

// DSMoE as a recipe, and the gate of EvoMoE with its noise.
TEST(SparseDit, GroupedSigmoidAndDenseToSparse) {
  Dit grouped(
      "mlp = { kind = \"moe\", setting = \"2-in-4\", gate = \"sigmoid\", router = \"linear\", "
      "selection = { kind = \"grouped\", groups = 2, kept_groups = 1 }, weights = { kind = "
      "\"sum\", "
      "scale = 2.5 }, expert = { kind = \"shared\", routed = \"glu\", shared = \"glu\" } }");
  grouped.expect_trainable(".moe.");
  grouped.expect_samples_apart();
  Dit annealed(
      "mlp = { kind = \"moe\", setting = \"1-in-4\", gate = \"softmax\", selection = { kind = "
      "\"dense_to_sparse\", weights = \"gumbel\" }, losses = { soft_balance = { weight = 1 } } }");
  annealed.expect_trainable(".router.");
  EXPECT_GT(annealed.routing.at(0).kept.mask_BLE().sum().item<int64_t>(),
            16);  // more than one a token
  annealed.expect_samples_apart();
}

}  // namespace
}  // namespace gallop::models
