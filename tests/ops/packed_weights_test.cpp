#include "gallop/ops/inference/packed_weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/precision.h"
#include "tests/ops/operator_case.h"

namespace gallop::testing {
namespace {

TEST(PackedWeights, GiveTheSameBitsAndAreUsed) {
  const at::Tensor x = random("x", {9, 80}), weight = random("w", {7, 80}), bias = random("b", {7}),
                   other = random("other", {7, 80});
  const at::Tensor y = ops::linear(x, weight, bias), gelu = ops::linear_gelu(x, weight, {});
  const ops::PackedWeights packed({weight});
  EXPECT_EQ(packed.numel(), 7 * 80);
  {
    const ops::PackedGuard guard(packed);
    ops::linear(x, other, {});
    ops::linear(x, weight.narrow(0, 0, 5), {});
    EXPECT_EQ(packed.numel_used(), 0) << "another weight, and a part of this one";
    EXPECT_TRUE(at::equal(ops::linear(x, weight, bias), y));
    EXPECT_EQ(packed.numel_used(), packed.numel());
    EXPECT_TRUE(at::equal(ops::linear_gelu(x, weight, {}), gelu));
  }
  EXPECT_TRUE(at::equal(ops::linear(x, weight, bias), y));
}

TEST(PackedWeights, ServeGroupsAndTheirMembers) {
  const ops::GroupedMlpWeights mlp{random("w1", {3, 24, 20}), random("b1", {3, 24}),
                                   random("w2", {3, 20, 24}), random("b2", {3, 20})};
  const at::Tensor x = random("x", {6, 20}), gate = random("gate", {7});
  const at::Tensor offsets = at::tensor({0, 4, 4, 7}, at::kLong),
                   tokens = at::tensor({0, 1, 2, 5, 1, 3, 5}, at::kLong);
  const auto run = [&] { return ops::grouped_mlp(x, offsets, tokens, gate, mlp); };
  const at::Tensor y = run(), member = ops::linear(x, mlp.w1_EHD[2], {});
  const ops::PackedWeights packed({mlp.w1_EHD, mlp.w2_EDH});
  const ops::PackedGuard guard(packed);
  EXPECT_TRUE(at::equal(run(), y));
  EXPECT_EQ(packed.numel_used(), packed.numel());
  EXPECT_TRUE(at::equal(ops::linear(x, mlp.w1_EHD[2], {}), member));
}

TEST(PackedWeights, AreReadOnlyWhereTheyFit) {
  const at::Tensor x = random("x", {4, 16}), weight = random("w", {8, 16});
  const at::Tensor plain = ops::linear(x, weight, {}), reference = x.matmul(weight.t());
  const ops::PackedWeights packed({weight});
  packed.make_all();
  weight.mutable_data_ptr<float>()[0] += 9;  // unseen by the count of its changes
  const ops::PackedGuard guard(packed);
  EXPECT_TRUE(at::equal(ops::linear(x, weight, {}), plain)) << "the panels";
  {
    const ops::ReferenceGuard references;
    EXPECT_GT(ops::linear(x, weight, {}).sub(reference).abs().max().item<float>(), 1);
  }
  // Panels of float32 are no panels of bf16.
  const ops::EmulatedBf16Guard emulated;
  const ops::PrecisionGuard bf16(ops::Precision::bf16);
  EXPECT_GT(ops::linear(x, weight, {}).sub(reference).abs().max().item<float>(), 1);
  const ops::PackedWeights in_bf16({weight});
  const ops::PackedGuard inner(in_bf16);
  ops::linear(x, weight, {});
  EXPECT_EQ(in_bf16.numel_used(), in_bf16.numel());
}

TEST(PackedWeights, DerivativesComeFromTheWeightItself) {
  const at::Tensor x = random("x", {5, 12}).set_requires_grad(true),
                   weight = random("w", {6, 12}).set_requires_grad(true);
  const auto gradients = [&] {
    ops::linear(x, weight, {}).backward(random("cotangent", {5, 6}));
    const std::vector<at::Tensor> both{x.grad().clone(), weight.grad().clone()};
    x.mutable_grad() = weight.mutable_grad() = at::Tensor();
    return both;
  };
  const auto wanted = gradients();
  const ops::PackedWeights packed({weight});
  const ops::PackedGuard guard(packed);
  const auto found = gradients();
  EXPECT_TRUE(at::equal(found[0], wanted[0]));
  EXPECT_TRUE(at::equal(found[1], wanted[1]));
}

TEST(PackedWeights, RefuseWhatTheyCannotDo) {
  EXPECT_THROW(ops::PackedWeights({random("w", {3, 4}).to(at::kDouble)}), Error);
  EXPECT_THROW(ops::PackedWeights({random("w", {3, 4}).t()}), Error);
  const at::Tensor x = random("x", {2, 4}), weight = random("w", {3, 4}), empty = at::empty({0, 4});
  const ops::PackedWeights packed({weight, empty});
  const ops::PackedGuard guard(packed);
  EXPECT_EQ(ops::linear(x, empty, {}).numel(), 0);
  EXPECT_NO_THROW(ops::linear(x, weight, {}));
  weight.mul_(2);
  EXPECT_THROW(ops::linear(x, weight, {}), Error) << "changed after it was cut";
}

}  // namespace
}  // namespace gallop::testing
