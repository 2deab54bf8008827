#include "gallop/inspection/forward.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::inspection {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::random_normal;
using testing::tensor_of;

// A model of one block on [1, 4, 4] images with 2 classes, and a case for it.
class Forward : public ::testing::Test {
 protected:
  explicit Forward(const std::string& mlp = "mlp = \"dense\"")
      : model(testing::make<models::Denoiser>(
            "kind = \"dit\"\ndepth = 1\nwidth = 8\nheads = 2\npatch = 2\n" + mlp,
            {.channels = 1, .height = 4, .width = 4, .classes = 2})) {
    model->materialize(1);
    for (const auto& [name, tensor] : models::named_tensors(*model)) {
      // No zeros, so that everything has an influence.
      forward_case.weights.emplace(name, random_normal(tensor.sizes(), name));
    }
    forward_case.inputs = {{"x", random_normal({3, 1, 4, 4}, "x")},
                           {"t", tensor_of({0, 0.5, 1})},
                           {"y", tensor_of({0, 1, 2}).to(at::kLong)}};
  }
  std::vector<std::string> names(const ForwardOptions& options) {
    std::vector<std::string> result;
    for (const auto& [name, tensor] : run_forward(*model, forward_case, options)) {
      if (!name.starts_with("grad.blocks.")) result.push_back(name);
    }
    return result;
  }
  std::string error(const ForwardOptions& options = {}) {
    return testing::message_of([&] { run_forward(*model, forward_case, options); });
  }
  std::map<std::string, at::Tensor> run(const ForwardOptions& options) {
    const auto results = run_forward(*model, forward_case, options);
    return {results.begin(), results.end()};
  }
  at::Tensor& in(const std::string& name) { return forward_case.inputs[name]; }

  const std::unique_ptr<models::Denoiser> model;
  ForwardCase forward_case;
};

class SparseForward : public Forward {
 protected:
  SparseForward()
      : Forward(
            "mlp = { kind = \"moe\", experts = 4, selection = { kind = \"race\", warmup = "
            "false, momentum = 0.5 }, losses = { router_similarity = { weight = 2 }, per_layer "
            "= { weight = 3 } } }") {}
};

TEST_F(Forward, GivesTheOutputAlone) {
  EXPECT_THAT(names({}), ElementsAre("output"));
  EXPECT_EQ(run({}).at("output").sizes(), in("x").sizes());
}

TEST_F(Forward, GivesBlocksOnDemand) {
  const auto results = run({.blocks = true});
  EXPECT_EQ(results.at("block.0").sizes(), at::IntArrayRef({3, 4, 8}));
  EXPECT_TRUE(results.contains("x_embed"));
}

TEST_F(Forward, CotangentMakesALossWithGradients) {
  in("cotangent") = at::ones({3, 1, 4, 4});
  const auto results = run({.gradients = true});
  testing::expect_close(results.at("loss"), results.at("output").sum(), 0, 1e-6, "loss");
  EXPECT_EQ(results.at("grad.x").sizes(), in("x").sizes());
  EXPECT_EQ(results.at("grad.t").sizes(), at::IntArrayRef({3}));
  EXPECT_TRUE(results.contains("grad.blocks.0.mlp.fc1.weight"));
  EXPECT_FALSE(results.contains("grad.pos_embed"));
  EXPECT_FALSE(results.contains("loss.main"));
  // Every token of the output adds the bias of the final layer once: 3 samples of 4 tokens.
  EXPECT_TRUE(results.at("grad.final_layer.linear.bias").eq(12).all().item<bool>());
}

TEST_F(Forward, RunsOfOneModelDoNotAddTheirGradients) {
  in("cotangent") = at::ones({3, 1, 4, 4});
  const at::Tensor first = run({.gradients = true}).at("grad.final_layer.linear.bias").clone();
  EXPECT_TRUE(first.equal(run({.gradients = true}).at("grad.final_layer.linear.bias")));
}

TEST_F(Forward, IntegerTimesHaveNoGradient) {
  in("t") = tensor_of({0, 500, 999}).to(at::kLong);
  in("cotangent") = at::ones({3, 1, 4, 4});
  EXPECT_FALSE(run({.gradients = true}).contains("grad.t"));
}

TEST_F(SparseForward, TargetAddsTheSparseLossesInTrainingOnly) {
  in("target") = random_normal({3, 1, 4, 4}, "target");
  EXPECT_THAT(names({.training = true}),
              ElementsAre("output", "routing.0.logits", "routing.0.mask", "routing.0.threshold",
                          "loss", "loss.main", "loss.per_layer", "loss.router_similarity"));
  const auto training = run({.training = true});
  const at::Tensor sum = training.at("loss.main")
                             .add(training.at("loss.per_layer"), 3)
                             .add(training.at("loss.router_similarity"), 2);
  testing::expect_close(training.at("loss"), sum, 1e-6, 0, "loss");
  const auto inference = run({});
  EXPECT_FALSE(inference.contains("loss.per_layer"));
  EXPECT_TRUE(inference.at("loss").equal(inference.at("loss.main")));
}

TEST_F(SparseForward, ThresholdIsThatAfterTheStep) {
  const at::Tensor before = forward_case.weights.at("blocks.0.moe.router.threshold");
  const auto training = run({.training = true});
  const at::Tensor kept =
      training.at("routing.0.logits").masked_select(training.at("routing.0.mask"));
  testing::expect_close(training.at("routing.0.threshold"), before.add(kept.min()).mul(0.5), 1e-6,
                        1e-6, "threshold");
  EXPECT_TRUE(run({}).at("routing.0.threshold").equal(before));
}

TEST_F(Forward, RefusesInputsThatDoNotFit) {
  const auto good = forward_case.inputs;
  const auto with = [&](const std::string& name, const at::Tensor& value) {
    forward_case.inputs = good;
    in(name) = value;
    return error();
  };
  EXPECT_THAT(with("label", tensor_of({1})), HasSubstr("unknown input 'label'"));
  EXPECT_THAT(with("x", at::zeros({3, 2, 4, 4})), HasSubstr("[B, 1, 4, 4]"));
  EXPECT_THAT(with("x", at::zeros({4, 4})), HasSubstr("must be [B, C, H, W], got [4, 4]"));
  EXPECT_THAT(with("t", tensor_of({0.5})), HasSubstr("t must be [3]"));
  EXPECT_THAT(with("y", tensor_of({0, 1, 2})), HasSubstr("y must be integers"));
  EXPECT_THAT(with("y", tensor_of({0, 1, 3}).to(at::kLong)), HasSubstr("label 3 is out of range"));
  EXPECT_THAT(with("target", at::zeros({3, 1, 4, 2})), HasSubstr("[3, 1, 4, 2]"));
  EXPECT_THAT(with("cotangent", at::zeros({1})), HasSubstr("shape of the output"));
  in("target") = at::zeros({3, 1, 4, 4});
  EXPECT_THAT(error(), HasSubstr("not both"));
  forward_case.inputs = good;
  EXPECT_THAT(error({.gradients = true}), HasSubstr("gradients need a loss"));
  forward_case.inputs.erase("t");
  EXPECT_THAT(error(), HasSubstr("hold no 't'"));
}

TEST_F(Forward, RefusesWeightsOfAnotherModel) {
  forward_case.weights.erase("final_layer.linear.bias");
  EXPECT_THAT(error(), HasSubstr("missing:    final_layer.linear.bias"));
}

TEST(ReadForwardCase, UnderstandsPrefixesAndPlainNames) {
  const test::TemporaryDirectory folder;
  const auto one = at::ones({1});
  nn::save_tensors(folder / "all.safetensors",
                   {{"weight.a", one}, {"in.x", one}, {"out.output", one}, {"grad.a", one}},
                   {{"rtol", "1e-3"}, {"atol", "0.5"}});
  nn::save_tensors(folder / "weights.safetensors", {{"a", one}, {"b", one}});
  nn::save_tensors(folder / "inputs.safetensors", {{"x", one}, {"t", one}, {"out.output", one}});
  const auto names = [](const std::map<std::string, at::Tensor>& tensors) {
    std::string text;
    for (const auto& [name, tensor] : tensors) text += name + " ";
    return text;
  };
  const ForwardCase all = read_forward_case(folder / "all.safetensors", folder / "all.safetensors");
  EXPECT_EQ(names(all.weights), "a ");
  EXPECT_EQ(names(all.inputs), "x ");
  EXPECT_EQ(names(all.expected), "grad.a output ");
  EXPECT_EQ(all.rtol, 1e-3);
  EXPECT_EQ(all.atol, 0.5);
  const ForwardCase plain =
      read_forward_case(folder / "weights.safetensors", folder / "inputs.safetensors");
  EXPECT_EQ(names(plain.weights), "a b ");
  EXPECT_EQ(names(plain.inputs), "t x ");
  EXPECT_EQ(names(plain.expected), "output ");
  EXPECT_FALSE(plain.rtol.has_value());
}

TEST(ReadForwardCase, RefusesAToleranceThatIsNone) {
  const test::TemporaryDirectory folder;
  const fs::path file = folder / "case.safetensors";
  nn::save_tensors(file, {{"in.x", at::ones({1})}}, {{"rtol", "small"}});
  EXPECT_THROW(read_forward_case(file, file), Error);
}

}  // namespace
}  // namespace gallop::inspection
