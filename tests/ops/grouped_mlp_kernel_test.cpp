#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/ops/grouped_mlp.h"
#include "tests/ops/operator_test.h"

namespace gallop::testing {
namespace {

GALLOP_TEST_OPERATOR(GroupedMlp, grouped_mlp_cases());

ops::GroupedMlpWeights weights(int64_t E, int64_t D, int64_t H) {
  return {random("w1", {E, H, D}), random("b1", {E, H}), random("w2", {E, D, H}),
          random("b2", {E, D})};
}

TEST(GroupedMlp, AnExpertWithoutTokensGetsNoGradient) {
  const OperatorCase c = grouped_mlp_cases().at(1);  // experts 0, 2 and 5 have none
  Tensors inputs;
  for (const at::Tensor& input : c.inputs) inputs.push_back(input.clone().set_requires_grad(true));
  const Tensors grads = forward_backward(c.op, inputs);
  for (const size_t i : {3, 4, 5, 6}) {
    for (const int64_t e : {0, 2, 5}) EXPECT_FALSE(grads[i][e].any().item<bool>()) << i;
    for (const int64_t e : {1, 3, 4}) EXPECT_TRUE(grads[i][e].any().item<bool>()) << i;
  }
}

TEST(GroupedMlp, NoPairsGiveZeros) {
  const at::Tensor none = at::zeros({0}, at::TensorOptions(at::kLong));
  const at::Tensor x = random("x", {4, 3}).set_requires_grad(true);
  const at::Tensor y = ops::grouped_mlp(x, at::zeros({3}, at::TensorOptions(at::kLong)), none,
                                        at::zeros({0}), weights(2, 3, 5));
  EXPECT_TRUE(at::equal(y, at::zeros({4, 3})));
  y.sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::zeros({4, 3})));
}

// A token's output does not depend on what else its experts have to do.
TEST(GroupedMlp, ATokenHasTheSameBitsWhateverTheLoad) {
  const at::Tensor x = random("x", {200, 20}), weight = random("gate", {200});
  const ops::GroupedMlpWeights mlp = weights(1, 20, 36);
  const auto run = [&](int64_t from, int64_t count) {
    std::vector<int64_t> tokens(count);
    for (int64_t i = 0; i < count; ++i) tokens[i] = from + i;
    return ops::grouped_mlp(x, at::tensor({int64_t{0}, count}), at::tensor(tokens),
                            weight.narrow(0, from, count), mlp);
  };
  const at::Tensor all = run(0, 200);
  for (const int64_t count : {1, 3, 8, 77}) {
    EXPECT_TRUE(at::equal(run(50, count).narrow(0, 50, count), all.narrow(0, 50, count))) << count;
  }
}

TEST(GroupedMlp, NamesWhatDoesNotFit) {
  const at::Tensor x = random("x", {4, 3}), gate = random("gate", {2});
  const at::Tensor offsets = at::tensor({0, 1, 2}, at::kLong),
                   tokens = at::tensor({0, 3}, at::kLong);
  EXPECT_NO_THROW(ops::grouped_mlp(x, offsets, tokens, gate, weights(2, 3, 5)));
  EXPECT_THROW(ops::grouped_mlp(x, offsets, tokens, gate, weights(2, 4, 5)), Error);
  EXPECT_THROW(ops::grouped_mlp(x, offsets, tokens, gate, weights(3, 3, 5)), Error);
  EXPECT_THROW(ops::grouped_mlp(x, offsets, at::tensor({0, 4}, at::kLong), gate, weights(2, 3, 5)),
               Error);
  EXPECT_THROW(ops::grouped_mlp(x, offsets, tokens, random("gate", {3}), weights(2, 3, 5)), Error);
}

}  // namespace
}  // namespace gallop::testing
