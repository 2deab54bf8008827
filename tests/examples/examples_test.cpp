// The examples of docs/components.md: compiled here, and used as a recipe would.
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/registry.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/gate.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "tests/examples/categories.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;

// The three parts together, against their definition written as one line.
TEST(Examples, GateSelectionAndExpertsWorkInALayer) {
  nn::Module root;
  const auto layer = testing::make<nn::FeedForward>(
      "kind = \"moe\"\nexperts = 3\nactive = 1.5\nexpert = \"scale\"\nselection = { kind = "
      "\"above\", "
      "score = 0.6 }\ngate = { kind = \"softplus\", sharpness = 2 }",
      {.parent = &root, .D = 4, .tokens = 5, .layers = 1});
  root.materialize(0);
  nn::Parameter& scale = *root.find_parameter("moe.experts.scale");
  scale.set_value(random_normal({3, 4}, "scale").set_requires_grad(true));

  const at::Tensor x = random_normal({2, 5, 4}, "x");
  std::vector<RoutingRecord> routing;
  const at::Tensor y = layer->forward(x, {.training = true, .routing = &routing});
  const at::Tensor gate = routing[0].logits_BLE.mul(2).exp().add(1).log().div(2);
  const at::Tensor weight = gate * gate.gt(0.6);
  testing::expect_close(y, x * weight.matmul(*scale), 1e-5, 1e-5, "layer");
  y.sum().backward();
  EXPECT_TRUE(scale->grad().ne(0).any().item<bool>());
}

// A state that moves with applied steps only, and a loss that needs what the selection shows.
TEST(Examples, ASelectionKeepsAStateAndShowsItToItsLoss) {
  nn::Module root;
  const std::string parts =
      "kind = \"moe\"\nexperts = 3\nactive = 1\nexpert = \"scale\"\nlosses.excess.weight = 2\n";
  const nn::FeedForward::Args args{.parent = &root, .D = 4, .tokens = 5, .layers = 1};
  const auto layer = testing::make<nn::FeedForward>(parts + "selection = \"above_mean\"", args);
  root.materialize(0);
  const nn::Parameter& mean = *root.find_parameter("moe.router.mean");
  std::vector<RoutingRecord> routing;
  layer->forward(random_normal({2, 5, 4}, "x"), {.training = true, .routing = &routing});
  const at::Tensor seen = routing[0].logits_BLE.mean();
  EXPECT_TRUE(routing[0].kept.mask_BLE().equal(routing[0].logits_BLE.gt(0)));
  const auto losses = total_losses(routing, {});
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].weight, 2);
  testing::expect_close(losses[0].value, seen.square(), 1e-6, 1e-6, "loss");
  EXPECT_EQ(mean->item<double>(), 0);
  routing[0].pending.at(0).commit(0);
  testing::expect_close(*mean, seen * 0.1, 1e-6, 1e-6, "mean");

  nn::Module other;
  EXPECT_THAT(testing::message_of([&] {
                testing::make<nn::FeedForward>(
                    parts, {.parent = &other, .D = 4, .tokens = 5, .layers = 1});
              }),
              ::testing::HasSubstr("the loss 'excess' needs excess"));
}

TEST(Examples, SettingsHaveDefaultsAndRanges) {
  EXPECT_THROW(testing::component("gate", "kind = \"softplus\"\nsharpness = 0"), Error);
}

// Learned as any other part: nothing but the class says that its rows are looked up.
TEST(Examples, ATableOfRowsIsTrained) {
  nn::Module root;
  const nn::Categories categories(root, 100, 2, 4);
  root.materialize(0);
  const auto parameters = training::trainable_parameters(root);
  const auto optimizer = config::make<training::Optimizer>(
      testing::component("optimizer", "kind = \"adamw\"\nlr = 0.1"), {parameters});
  const at::Tensor category_BF =
      at::tensor(std::vector<int64_t>{3, 7, 99, 7}, at::kLong).view({2, 2});
  const at::Tensor before = (**parameters[0]).detach().clone();
  double first = 0, last = 0;
  for (int64_t step = 1; step <= 30; ++step) {
    const at::Tensor loss = categories.forward(category_BF).sub(0.5).square().mean();
    (step == 1 ? first : last) = loss.item<double>();
    loss.backward();
    EXPECT_EQ(optimizer->step(step, 1, 1), "");
    training::clear_gradients(parameters);
  }
  EXPECT_LT(last, 0.05 * first);
  EXPECT_EQ((**parameters[0]).ne(before).any(1).sum().item<int64_t>(), 3) << "rows that moved";
}

}  // namespace
}  // namespace gallop::sparse
