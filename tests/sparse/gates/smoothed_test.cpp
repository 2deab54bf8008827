#include <ATen/ops/eye.h>
#include <gtest/gtest.h>

#include "gallop/sparse/choice/gate.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;

REFERENCE_TEST(SmoothedGateCases, MatchTheReference, "routing/kind_smoothed_gate") {
  const Json& config = fixture.config();
  for (const std::string name : {"causal", "full"}) {
    nn::Module root;
    const auto gate = testing::make<Gate>(
        "kind = \"smoothed\"\ntemperature = " + config.at("temperature").dump() +
            "\ncausal = " + (name == "causal" ? "true" : "false"),
        {.parent = &root, .D = config.at("D").as_int(), .experts = config.at("E").as_int()});
    testing::load(root, {{"router.similarity", fixture.in("similarity")}});
    const at::Tensor u = fixture.in("u").clone().set_requires_grad(true);
    const at::Tensor W = fixture.in("gate").clone().set_requires_grad(true);
    const Scores scores = gate->scores({.logits_BLE = u.matmul(W.t()), .x_BLD = u});
    const Selected selected =
        testing::Selector("kind = \"token\"", scores.gate_BLE.sizes(), config.at("k").as_double())
            .select(scores);
    const at::Tensor weights = testing::weights_of("kind = \"gate\"", scores, selected);
    const std::string out = "out." + name + ".", grad = "grad." + name + ".";
    fixture.expect_close(scores.gate_BLE, out + "scores");
    fixture.expect_close(selected.mask_BLE(), out + "mask");
    fixture.expect_close(weights, out + "weight");
    weights.mul(fixture.in("cotangent")).sum().backward();
    fixture.expect_close(u.grad(), grad + "u");
    fixture.expect_close(W.grad(), grad + "gate");
    fixture.expect_close(testing::gradient_of(*root.parameters()[0]), grad + "similarity");
  }
  fixture.expect_all_checked();
}

// All tokens equal: the plain softmax; and rows always sum to 1.
TEST(SmoothedGate, OfEqualTokensIsTheSoftmax) {
  nn::Module root;
  const auto gate =
      testing::make<Gate>("kind = \"smoothed\"", {.parent = &root, .D = 3, .experts = 4});
  root.materialize(/*seed=*/0);
  EXPECT_TRUE((*root.parameters()[0])->equal(at::eye(3)));
  const at::Tensor logits = random_normal({2, 1, 4}, "logits").expand({2, 5, 4});
  const at::Tensor same = random_normal({2, 1, 3}, "x").expand({2, 5, 3});
  testing::expect_close(gate->scores({logits, same}).gate_BLE, logits.softmax(-1), 1e-5, 1e-6,
                        "equal tokens");
  const at::Tensor sum =
      gate->scores({random_normal({2, 5, 4}, "l"), random_normal({2, 5, 3}, "t")}).gate_BLE.sum(-1);
  EXPECT_TRUE(sum.sub(1).abs().lt(1e-5).all().item<bool>());
}

}  // namespace
}  // namespace gallop::sparse
