#include "gallop/models/int8.h"

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/models/denoiser.h"
#include "gallop/ops/inference/int8.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::random_normal;
using testing::tensor_of;

// One block on 4x4 images: four tokens.
std::unique_ptr<Denoiser> model_of(const std::string& toml, int64_t width = 64) {
  return testing::make<Denoiser>("kind = \"dit\"\ndepth = 1\nwidth = " + std::to_string(width) +
                                     "\nheads = 4\npatch = 2\n" + toml,
                                 {.channels = 1, .height = 4, .width = 4, .classes = 3});
}

std::vector<std::string> candidates(const std::string& toml, int64_t width = 64) {
  const auto model = model_of(toml, width);
  std::vector<std::string> names;
  for (const nn::Parameter* parameter : int8_candidates(*model)) names.push_back(parameter->name());
  return names;
}

TEST(Int8Candidates, AreTheMatricesOfTheTokens) {
  EXPECT_THAT(candidates(""), ElementsAre("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight",
                                          "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"));
  EXPECT_THAT(candidates("", 32), ElementsAre("blocks.0.mlp.fc2.weight")) << "inner size 32";
  EXPECT_THAT(candidates("mlp = { kind = \"dense\", ratio = 1 }", 32), IsEmpty());
}

TEST(Int8Candidates, LeaveOutWhatChoosesAndWhatOnlyTrainingUses) {
  const std::string moe =
      "mlp = { kind = \"moe\", setting = \"2-in-4\", router = \"mlp\", "
      "losses.per_layer.weight = 1e-2 }";
  EXPECT_THAT(candidates(moe),
              ElementsAre("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight",
                          "blocks.0.moe.experts.fc1.weight", "blocks.0.moe.experts.fc2.weight"));
  EXPECT_THAT(candidates("attention = \"moh\"\nblock_routing = \"mod\""),
              ElementsAre("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight",
                          "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"));
}

// What is named is what the model uses in 8 bits, and its output stays near.
TEST(Int8Candidates, AreUsedByTheModel) {
  const at::NoGradGuard no_grad;
  for (const char* mlp : {"",
                          "mlp = { kind = \"moe\", setting = \"2-in-4\", selection = { kind = "
                          "\"race\", inference = \"top-k\" } }"}) {
    const auto model = model_of(mlp);
    model->materialize(/*seed=*/0, {}, /*gradients=*/false);
    for (nn::Parameter* parameter : model->parameters()) {
      if (parameter->trainable()) {
        parameter->set_value(random_normal(parameter->shape(), parameter->name()).mul(0.1));
      }
    }
    std::vector<at::Tensor> weights;
    for (const nn::Parameter* parameter : int8_candidates(*model)) weights.push_back(**parameter);
    const ops::Int8Weights in_8_bits(weights);
    const auto run = [&] {
      return model->forward(random_normal({4, 1, 4, 4}, "x"),
                            {.timestep_B = tensor_of({10, 300, 600, 990}),
                             .label_B = tensor_of({0, 1, 2, 3}).to(at::kLong)});
    };
    const at::Tensor exact = run();
    const ops::Int8Guard guard(in_8_bits);
    const at::Tensor near = run();
    EXPECT_EQ(in_8_bits.numel_used(), in_8_bits.numel()) << mlp;
    const double change = near.sub(exact).norm().item<double>() / exact.norm().item<double>();
    EXPECT_GT(change, 0) << mlp;
    EXPECT_LT(change, 0.05) << mlp;
  }
}

}  // namespace
}  // namespace gallop::models
