#include "gallop/sparse/choice/weighting.h"

#include <gtest/gtest.h>

#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::scores_of;
using testing::Selector;
using testing::tensor_of;

REFERENCE_TEST(WeightingCases, ConventionsOfTokenChoiceMatchTheReference,
               "routing/kind_token_choice") {
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const Scores scores = scores_of("softmax", logits.unsqueeze(0));
  fixture.expect_close(scores.gate_BLE[0], "out.probabilities");
  const Selected selected =
      Selector("kind = \"token\"", scores.gate_BLE.sizes(), fixture.config().at("k").as_double())
          .select(scores);
  fixture.expect_close(selected.mask_BLE()[0], "out.mask");
  const std::pair<const char*, const char*> conventions[] = {
      {"raw", "gate"}, {"renormalised", "sum"}, {"survivors", "softmax"}, {"one", "one"}};
  for (const auto& [name, kind] : conventions) {
    const at::Tensor weights =
        testing::weights_of(std::string("kind = \"") + kind + "\"", scores, selected)[0];
    fixture.expect_close(weights, std::string("out.") + name);
    logits.mutable_grad().reset();
    // A loss that always has a graph: weights of one have none.
    weights.mul(fixture.in("cotangent")).sum().add(logits.sum(), 0).backward({}, true);
    fixture.expect_close(logits.grad(), std::string("grad.") + name + ".logits");
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(WeightingCases, ExpertChoiceMatchesTheReference, "routing/kind_expert_choice") {
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const double capacity = fixture.config().at("capacity").as_double();
  const Scores scores = scores_of("softmax", logits);
  const Selected selected = Selector("kind = \"expert\"", logits.sizes(), capacity).select(scores);
  fixture.expect_close(selected.mask_BLE(), "out.mask");
  const int64_t kept = fixture.out("tokens").size(2);
  EXPECT_EQ(kept, fixture.config().at("tokens_per_expert").as_int());
  // The kept tokens of each expert, best first.
  const at::Tensor kept_BEL = scores.gate_BLE.mul(selected.mask_BLE()).transpose(1, 2);
  const at::Tensor order = std::get<1>(kept_BEL.sort(/*stable=*/true, -1, /*descending=*/true));
  fixture.expect_close(order.narrow(-1, 0, kept), "out.tokens");
  for (const auto& [name, kind] : {std::pair("raw", "gate"), std::pair("renormalised", "sum")}) {
    const at::Tensor weights =
        testing::weights_of(std::string("kind = \"") + kind + "\"", scores, selected);
    fixture.expect_close(weights, std::string("out.") + name);
    logits.mutable_grad().reset();
    weights.mul(fixture.in("cotangent")).sum().backward({}, true);
    fixture.expect_close(logits.grad(), std::string("grad.") + name + ".logits");
  }
  fixture.expect_all_checked();
}

// Two tokens of two experts, the second without a pair: no NaN, in values or gradients.
TEST(Weighting, ATokenWithoutAPairHasNoWeightAndNoGradient) {
  const at::Tensor logits = tensor_of({1, 2, 3, 4}).reshape({1, 2, 2}).set_requires_grad(true);
  const Scores scores = scores_of("softmax", logits);
  const Selected selected{
      .pairs = Pairs::of_mask(tensor_of({1, 1, 0, 0}).reshape({1, 2, 2}).to(at::kBool))};
  for (const char* kind : {"gate", "sum", "softmax", "one"}) {
    const at::Tensor weights =
        testing::weights_of(std::string("kind = \"") + kind + "\"", scores, selected);
    EXPECT_TRUE(weights[0][1].eq(0).all().item<bool>()) << kind;
    logits.mutable_grad().reset();
    weights.square().sum().add(logits.sum(), 0).backward({}, true);
    EXPECT_TRUE(logits.grad()[0][1].eq(0).all().item<bool>()) << kind;
    EXPECT_TRUE(logits.grad().isfinite().all().item<bool>()) << kind;
  }
}

TEST(Weighting, ScaleMultipliesNormalisedWeights) {
  const at::Tensor logits = tensor_of({0, 0, 0, 0}).reshape({1, 1, 4});
  const Scores scores = scores_of("sigmoid", logits);
  const Selected selected = Selector("kind = \"token\"", logits.sizes(), 2).select(scores);
  for (const char* kind : {"sum", "softmax"}) {
    const at::Tensor weights =
        testing::weights_of(std::string("kind = \"") + kind + "\"\nscale = 3", scores, selected);
    EXPECT_TRUE(weights[0][0].equal(tensor_of({1.5, 1.5, 0, 0}))) << kind;
  }
}

}  // namespace
}  // namespace gallop::sparse
