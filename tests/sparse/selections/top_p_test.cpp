#include <gtest/gtest.h>

#include <sstream>

#include "gallop/sparse/choice/entropy.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::scores_of;
using testing::Selector;
using testing::tensor_of;

REFERENCE_TEST(TopPCases, DynMoleMatchesTheReference, "routing/kind_dynmole") {
  const Json& config = fixture.config();
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const Scores scores = scores_of("softmax", logits.unsqueeze(0));
  const double q = config.at("q").as_double(), eps = config.at("eps").as_double();
  fixture.expect_close(normalised_entropy(logits, q, eps), "out.entropy");

  std::ostringstream p, dynmole;
  p << "kind = \"top_p\"\np = " << config.at("top_p").dump() << "\n";
  dynmole << p.str() << "crossing = false\nleast = " << config.at("keep").as_int() << "\n";
  const auto select = [&](const std::string& toml) {
    return Selector(toml, scores.logits_BLE.sizes(), 2).select(scores);
  };
  fixture.expect_close(select(p.str()).mask_BLE()[0], "out.nucleus_mask");
  fixture.expect_close(select(dynmole.str()).mask_BLE()[0], "out.top_p_mask");
  std::ostringstream kind;
  kind << "q = " << config.at("q").dump() << "\neps = " << config.at("eps").dump() << "\n";
  dynmole << kind.str() << "all_above = " << config.at("entropy_threshold").dump();
  const Selected selected = select(dynmole.str());
  fixture.expect_close(selected.mask_BLE()[0], "out.mask");

  const at::Tensor weights = testing::weights_of("kind = \"gate\"", scores, selected)[0];
  fixture.expect_close(weights, "out.weight");
  weights.mul(fixture.in("cotangent")).sum().backward({}, /*retain_graph=*/true);
  fixture.expect_close(logits.grad(), "grad.weight.logits");

  const RoutingRecord record = testing::record_of(scores, selected, 2);
  const at::Tensor loss = testing::loss_of("entropy", record, kind.str())
                              .mul(fixture.number_in("loss", "([0-9][0-9.eE+-]*)\\*mean entropy"))
                              .add(testing::loss_of("soft_balance", record),
                                   fixture.number_in("loss", "([0-9][0-9.eE+-]*)\\*E\\*sum_e"));
  fixture.expect_close(loss, "out.loss");
  logits.mutable_grad().reset();
  loss.backward();
  fixture.expect_close(logits.grad(), "grad.loss.logits");
  fixture.expect_all_checked();
}

// p = 1/2, 1/4, 1/4: 0.5 is reached by the first alone, 0.6 needs two, and of equals the first
// wins.
TEST(TopP, KeepsTheFewestThatReachP) {
  const at::Tensor logits = tensor_of({0, 0.6931472f, 0}).reshape({1, 1, 3});
  const auto kept = [&](const std::string& toml) {
    return Selector("kind = \"top_p\"\n" + toml, logits.sizes(), 1).mask(logits)[0][0];
  };
  EXPECT_TRUE(kept("p = 0.45").equal(tensor_of({0, 1, 0}).to(at::kBool)));
  EXPECT_TRUE(kept("p = 0.6").equal(tensor_of({1, 1, 0}).to(at::kBool)));
  EXPECT_TRUE(kept("p = 0.6\ncrossing = false").equal(tensor_of({0, 1, 0}).to(at::kBool)));
  EXPECT_TRUE(
      kept("p = 0.1\ncrossing = false\nleast = 2").equal(tensor_of({1, 1, 0}).to(at::kBool)));
  EXPECT_TRUE(kept("p = 0.1\nleast = 3").all().item<bool>());
  EXPECT_FALSE(kept("p = 0.1\ncrossing = false\nleast = 0").any().item<bool>());
}

}  // namespace
}  // namespace gallop::sparse
