#include "gallop/ops/grouped_mlp.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "gallop/ops/activation.h"
#include "gallop/ops/linear.h"
#include "gallop/sparse/choice/kept.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"

namespace gallop::ops {
namespace {

using testing::random_normal;
using testing::tensor_of;

constexpr int64_t kTokens = 6, kExperts = 4, kD = 5, kH = 7;

struct Problem {
  at::Tensor x_TD = random_normal({kTokens, kD}, "x");
  at::Tensor gate_TE = random_normal({kTokens, kExperts}, "gate");
  GroupedMlpWeights mlp{
      random_normal({kExperts, kH, kD}, "w1"), random_normal({kExperts, kH}, "b1"),
      random_normal({kExperts, kD, kH}, "w2"), random_normal({kExperts, kD}, "b2")};
  // Token 2 has no expert, expert 3 has no token, token 0 has three experts.
  at::Tensor mask_TE = tensor_of({1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0,  //
                                  0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0})
                           .reshape({kTokens, kExperts})
                           .to(at::kBool);
  sparse::Kept pairs() const { return sparse::keep(sparse::Pairs::of_mask(mask_TE), gate_TE); }
  std::vector<at::Tensor*> leaves() {
    return {&x_TD, &gate_TE, &mlp.w1_EHD, &mlp.b1_EH, &mlp.w2_EDH, &mlp.b2_ED};
  }
};

at::Tensor run(const Problem& p, decltype(&grouped_mlp) function = &grouped_mlp) {
  const sparse::Kept pairs = p.pairs();
  return function(p.x_TD, pairs.offsets(), pairs.token_P(), pairs.weights_P, p.mlp);
}

// The definition, one expert on all tokens at a time.
at::Tensor dense(const Problem& p) {
  at::Tensor y = at::zeros_like(p.x_TD);
  for (int64_t e = 0; e < kExperts; ++e) {
    const at::Tensor hidden = gelu_tanh(linear(p.x_TD, p.mlp.w1_EHD[e], p.mlp.b1_EH[e]));
    const at::Tensor out = linear(hidden, p.mlp.w2_EDH[e], p.mlp.b2_ED[e]);
    y = y + out * (p.gate_TE * p.mask_TE).narrow(1, e, 1);
  }
  return y;
}

// What other devices run, on this one: results and gradients are those of the reference, with
// experts and tokens that have no pair.
struct Wide : Problem {
  Wide() {
    x_TD = random_normal({kTokens, 8}, "x");
    mlp = {random_normal({kExperts, 12, 8}, "w1"), random_normal({kExperts, 12}, "b1"),
           random_normal({kExperts, 8, 12}, "w2"), random_normal({kExperts, 8}, "b2")};
  }
  /// The result, then the gradients of all, on a device.
  std::vector<at::Tensor> results(decltype(&grouped_mlp) function, at::Device device) {
    std::vector<at::Tensor> all;
    for (at::Tensor* leaf : leaves()) {
      *leaf = leaf->detach().to(device).clone().set_requires_grad(true);
    }
    mask_TE = mask_TE.to(device);
    all.push_back(run(*this, function));
    all[0].square().sum().backward();
    for (const at::Tensor* leaf : leaves()) all.push_back(leaf->grad());
    for (at::Tensor& each : all) each = each.detach().cpu();
    return all;
  }
};

void expect_alike(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    testing::expect_close(a[i], b[i], 1e-4, 1e-4, std::to_string(i));
  }
}

TEST(GroupedMlp, GroupedProductsOfLibtorchGiveTheSame) {
  Wide p;
  EXPECT_TRUE(has_grouped_products(p.x_TD, p.mlp));
  EXPECT_FALSE(has_grouped_products(Problem().x_TD, Problem().mlp)) << "odd widths";
  expect_alike(p.results(&grouped_mlp_device, at::kCPU),
               p.results(&grouped_mlp_reference, at::kCPU));
}

TEST(GroupedMlp, GpuGivesTheSame) {
  if (!at::hasCUDA()) GTEST_SKIP() << "needs a GPU";
  Wide p;
  const auto here = p.results(&grouped_mlp_reference, at::kCPU);
  expect_alike(p.results(&grouped_mlp, at::kCUDA), here);
}

TEST(GroupedMlp, IsTheSumOverTheKeptPairs) {
  const Problem p;
  testing::expect_close(run(p), dense(p), 1e-5, 1e-5, "fused");
  testing::expect_close(run(p, &grouped_mlp_reference), dense(p), 1e-5, 1e-5, "reference");
  EXPECT_TRUE(run(p)[2].eq(0).all().item<bool>());
}

TEST(GroupedMlp, GradientsAreThoseOfTheDefinition) {
  Problem sparse, full;
  for (at::Tensor* leaf : sparse.leaves()) leaf->set_requires_grad(true);
  for (at::Tensor* leaf : full.leaves()) leaf->set_requires_grad(true);
  const at::Tensor cotangent = random_normal({kTokens, kD}, "cotangent");
  run(sparse).mul(cotangent).sum().backward();
  dense(full).mul(cotangent).sum().backward();
  for (size_t i = 0; i < sparse.leaves().size(); ++i) {
    testing::expect_close(sparse.leaves()[i]->grad(), full.leaves()[i]->grad(), 1e-4, 1e-5,
                          "gradient " + std::to_string(i));
  }
}

TEST(GroupedMlp, WithoutAnyPairIsZero) {
  Problem p;
  p.mask_TE = at::zeros_like(p.mask_TE);
  EXPECT_TRUE(run(p).equal(at::zeros({kTokens, kD})));
}

}  // namespace
}  // namespace gallop::ops
