#include "gallop/models/packed_forward.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/models/denoiser.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using testing::random_normal;
using testing::tensor_of;

TEST(PackedForward, GivesTheSameBitsAndRefusesOtherWeights) {
  const at::NoGradGuard no_grad;
  const auto model = testing::make<Denoiser>(
      "kind = \"dit\"\ndepth = 1\nwidth = 32\nheads = 4\npatch = 2\nmlp = { kind = \"moe\", "
      "setting = \"2-in-4\", selection = { kind = \"race\", inference = \"top-k\" } }",
      {.channels = 1, .height = 4, .width = 4, .classes = 3});
  model->materialize(/*seed=*/0, {}, /*gradients=*/false);
  for (nn::Parameter* parameter : model->parameters()) {
    if (!parameter->trainable()) continue;
    parameter->set_value(random_normal(parameter->shape(), parameter->name()).mul(0.1));
  }
  const auto run = [&] {
    return model->forward(random_normal({4, 1, 4, 4}, "x"),
                          {.timestep_B = tensor_of({10, 300, 600, 990}),
                           .label_B = tensor_of({0, 1, 2, 3}).to(at::kLong)});
  };
  const at::Tensor y = run();
  EXPECT_GT(y.abs().max().item<float>(), 0);
  {
    const PackedForward packed(*model);
    EXPECT_TRUE(run().equal(y));
    EXPECT_TRUE(run().equal(y));
    for (nn::Parameter* parameter : model->parameters()) {
      if (parameter->name().ends_with("fc1.weight")) (**parameter).mul_(2);
    }
    EXPECT_THROW(run(), Error) << "panels of weights that are no more";
  }
  EXPECT_FALSE(run().equal(y));
}

}  // namespace
}  // namespace gallop::models
