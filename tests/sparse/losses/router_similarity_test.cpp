#include "gallop/sparse/losses/router_similarity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/sparse/choice/kept.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/sparse/statistics.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;
using testing::tensor_of;

REFERENCE_TEST(SparseLossCases, LossesAndStatisticsMatchTheReference, "routing/losses") {
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const int64_t E = logits.size(-1);
  const at::Tensor mask_TE = fixture.in("mask").reshape({-1, E});

  fixture.expect_close(similarity_weights(mask_TE), "out.rsl_W");
  const auto loss = testing::make<SparseLoss>("kind = \"router_similarity\"\nweight = 1", {});
  RoutingRecord record;
  record.logits_BLE = logits;
  record.kept = keep(Pairs::of_mask(fixture.in("mask").to(at::kBool)), logits.detach());
  const at::Tensor value = loss->value(record, {});
  fixture.expect_close(value, "out.rsl");
  value.backward();
  fixture.expect_close(logits.grad(), "grad.rsl.logits");

  const at::Tensor loads = record.kept.loads();
  fixture.expect_close(loads, "out.loads");
  const at::Tensor usage = at::zeros({}, at::TensorOptions(at::kDouble));
  fixture.expect_close(usage + combination_usage(mask_TE), "out.combination_usage_percent");
  if (fixture.has("out.maxvio")) {
    fixture.expect_close(usage + max_violation(loads), "out.maxvio");
  } else {
    EXPECT_TRUE(std::isnan(max_violation(loads)));
  }
  for (const std::string kind : {"balance", "z"}) {
    const std::string name = kind == "z" ? "zloss" : kind;
    logits.mutable_grad().reset();
    const at::Tensor other = testing::loss_of(kind, record);
    fixture.expect_close(other, "out." + name);
    other.backward();
    fixture.expect_close(logits.grad(), "grad." + name + ".logits");
  }
  fixture.expect_all_checked();
}

double similarity(const at::Tensor& logits_TE, const at::Tensor& mask_TE) {
  return router_similarity(logits_TE, mask_TE).item<double>();
}

// Points 3 and 5 of the verification list of Expert Race.
TEST(RouterSimilarity, HandExamples) {
  const at::Tensor logits = tensor_of({2, 1, -1, 0.5, 1.5, -2}).reshape({2, 3});
  EXPECT_NEAR(similarity(logits, tensor_of({1, 0, 0, 0, 1, 0}).reshape({2, 3})), 0.859315, 1e-6);
  const at::Tensor shared = tensor_of({1, 1, 0, 0, 1, 0}).reshape({2, 3});
  EXPECT_NEAR(similarity(logits, shared), 1.976115, 1e-6);
  EXPECT_TRUE(similarity_weights(shared).equal(
      tensor_of({1, 3, 0, 3, 2, 0, 0, 0, 0}).reshape({3, 3}).to(at::kDouble)));
}

TEST(RouterSimilarity, UniformScoresGiveOneWhereExpertsMeetAndOneOverEWhereNot) {
  const at::Tensor uniform = at::zeros({6, 4});
  const at::Tensor meeting = random_normal({6, 4}, "mask").gt(0);
  ASSERT_TRUE(meeting.sum(1).gt(1).any().item<bool>());
  EXPECT_NEAR(similarity(uniform, meeting), 1, 1e-6);
  EXPECT_NEAR(similarity(uniform.narrow(0, 0, 4), at::eye(4)), 0.25, 1e-6);
}

TEST(RouterSimilarity, OneHotScores) {
  const at::Tensor balanced = at::eye(4);  // token t goes to expert t alone
  EXPECT_NEAR(similarity(balanced.mul(1000), balanced), 1, 1e-6);
  const at::Tensor collapsed = at::zeros({8, 4});
  collapsed.select(1, 2).fill_(1);
  EXPECT_NEAR(similarity(collapsed.mul(1000), collapsed), 4, 1e-6);
}

// Fig. 4 of the paper: 2-in-4, 12 tokens, P = M/2. Two pairs that always fire together give 2, all
// six pairs alike give 1, where a balance loss sees no difference.
TEST(RouterSimilarity, ToyOfThePaper) {
  const int64_t pairs[6][2] = {{0, 1}, {2, 3}, {0, 2}, {1, 3}, {0, 3}, {1, 2}};
  const auto toy = [&](int64_t kinds) {
    const at::Tensor mask = at::zeros({12, 4});
    for (int64_t t = 0; t < 12; ++t) {
      for (const int64_t e : pairs[t % kinds]) mask[t][e].fill_(1);
    }
    return similarity(mask.mul(1000), mask);
  };
  EXPECT_NEAR(toy(2), 2, 1e-6);
  EXPECT_NEAR(toy(6), 1, 1e-6);
}

// dL/dS = P (g - rowsum(g P)) with g = (2/T) P W, and central differences in float64.
TEST(RouterSimilarity, GradientIsThatOfTheFormulaAndOfFiniteDifferences) {
  const at::Tensor logits = random_normal({5, 4}, "logits").to(at::kDouble);
  const at::Tensor mask = random_normal({5, 4}, "mask").gt(0);
  const at::Tensor leaf = logits.clone().set_requires_grad(true);
  router_similarity(leaf, mask).backward();

  const at::Tensor P = logits.softmax(1);
  const at::Tensor g = P.matmul(similarity_weights(mask)).mul(2.0 / 5);
  const at::Tensor formula = P.mul(g.sub(g.mul(P).sum(1, /*keepdim=*/true)));
  testing::expect_close(leaf.grad(), formula, 0, 1e-12, "formula");

  const at::Tensor numeric = at::zeros({5, 4}, at::TensorOptions(at::kDouble));
  constexpr double h = 1e-5;
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t e = 0; e < 4; ++e) {
      const at::Tensor up = logits.clone(), down = logits.clone();
      up[t][e].add_(h);
      down[t][e].sub_(h);
      numeric[t][e].fill_((similarity(up, mask) - similarity(down, mask)) / (2 * h));
    }
  }
  testing::expect_close(leaf.grad(), numeric, 0, 1e-9, "finite differences");
}

TEST(SparseLosses, AWeightOfZeroBuildsNothing) {
  SparseLossesConfig config;
  EXPECT_TRUE(make_losses(config, {}).empty());
  EXPECT_THROW(testing::component("sparse-loss", "kind = \"router_similarity\"\nweight = -1"),
               Error);
}

}  // namespace
}  // namespace gallop::sparse
