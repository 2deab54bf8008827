#include "gallop/ops/grouped_mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "gallop/ops/activation.h"
#include "gallop/ops/linear.h"
#include "gallop/sparse/assignment.h"
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
  sparse::Assignment pairs() const { return sparse::make_assignment(mask_TE, gate_TE); }
  std::vector<at::Tensor*> leaves() {
    return {&x_TD, &gate_TE, &mlp.w1_EHD, &mlp.b1_EH, &mlp.w2_EDH, &mlp.b2_ED};
  }
};

at::Tensor run(const Problem& p, decltype(&grouped_mlp) function = &grouped_mlp) {
  const sparse::Assignment pairs = p.pairs();
  return function(p.x_TD, pairs.offsets, pairs.tokens, pairs.weights, p.mlp);
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
