#include "gallop/nn/linear.h"

#include <gtest/gtest.h>

#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::nn {
namespace {

using testing::tensor_of;

TEST(Linear, MultipliesAndAddsByHand) {
  Module root;
  const Linear linear(root, "layer", 2, 3);
  testing::load(root, {{"layer.weight", tensor_of({1, 2, 3, 4, 5, 6}).reshape({3, 2})},
                       {"layer.bias", tensor_of({10, 20, 30})}});
  const at::Tensor x = tensor_of({1, -1, 2, 0}).reshape({2, 1, 2});
  EXPECT_TRUE(linear.forward(x).equal(tensor_of({9, 19, 29, 12, 26, 40}).reshape({2, 1, 3})));
}

TEST(Linear, BiasIsOptionalStartsAtZeroAndDoesNotDecay) {
  Module root;
  const Linear plain(root, "plain", 2, 3, {.bias = false}), biased(root, "biased", 2, 3);
  root.materialize(0);
  EXPECT_EQ(root.parameters().size(), 3u);
  const Parameter& bias = *root.find_parameter("biased.bias");
  EXPECT_TRUE((*bias).eq(0).all().item<bool>());
  EXPECT_FALSE(bias.attributes().decay);
  EXPECT_TRUE(biased.weight().attributes().decay);
  EXPECT_EQ(plain.forward(tensor_of({0, 0})).abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace gallop::nn
