#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/error.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::loss_of;
using testing::record_of;
using testing::scores_of;
using testing::tensor_of;

// Two samples that are each sent to one expert, together evenly: even as a batch, not as sequences.
TEST(Balance, ScopeSaysWhichTokensMustBeEven) {
  const at::Tensor logits = tensor_of({100, 0, 100, 0, 0, 100, 0, 100}).reshape({2, 2, 2});
  const RoutingRecord record =
      record_of(scores_of("softmax", logits), {.pairs = Pairs::of_mask(logits.gt(0))}, 1);
  EXPECT_NEAR(loss_of("balance", record).item<double>(), 1, 1e-6);
  EXPECT_NEAR(loss_of("balance", record, "scope = \"sequence\"").item<double>(), 2, 1e-6);
  // Weights of 1 stand for counts.
  EXPECT_NEAR(loss_of("soft_balance", record).item<double>(), 1, 1e-6);
  EXPECT_NEAR(loss_of("soft_balance", record, "scope = \"sequence\"").item<double>(), 2, 1e-6);
  // Importance 2, 2 of the batch; of a sample 2, 0 with mean 1 and unbiased variance 2.
  EXPECT_NEAR(loss_of("importance", record).item<double>(), 0, 1e-6);
  EXPECT_NEAR(loss_of("importance", record, "scope = \"sequence\"").item<double>(), 2, 1e-6);
}

// Two micro-batches that are each sent to one expert: uneven alone, even as a step.
TEST(Balance, GlobalScopeCountsTheStepSoFar) {
  const at::Tensor first = tensor_of({100, 0, 100, 0}).reshape({1, 2, 2});
  StepSums step;
  const auto record = [&](const at::Tensor& logits) {
    RoutingRecord made =
        record_of(scores_of("softmax", logits), {.pairs = Pairs::of_mask(logits.gt(0))}, 1);
    made.step = &step;
    return made;
  };
  const auto of = [&](const char* kind, const RoutingRecord& of) {
    return loss_of(kind, of, "scope = \"global\"").item<double>();
  };
  for (int round = 0; round < 2; ++round) {
    step.start_step();
    const RoutingRecord one = record(first), other = record(first.flip(2));
    for (const char* kind : {"balance", "soft_balance", "importance"}) {
      EXPECT_NEAR(of(kind, one), 2, 1e-6) << kind;
      EXPECT_NEAR(of(kind, other), std::string(kind) == "importance" ? 0 : 1, 1e-6) << kind;
      EXPECT_NEAR(loss_of(kind, other).item<double>(), 2, 1e-6) << kind;
    }
  }
  // Outside of a step a forward is alone.
  RoutingRecord alone = record(first);
  alone.step = nullptr;
  EXPECT_NEAR(of("balance", alone), 2, 1e-6);
}

// What earlier micro-batches had counts, but their graphs are gone.
TEST(Balance, EarlierMicroBatchesCarryNoGradient) {
  StepSums step;
  for (const char* name : {"first", "second"}) {
    const at::Tensor logits = testing::random_normal({1, 4, 3}, name).set_requires_grad(true);
    RoutingRecord record =
        record_of(scores_of("softmax", logits), {.pairs = Pairs::of_mask(logits.gt(0))}, 1);
    record.step = &step;
    for (const char* kind : {"balance", "soft_balance", "importance", "router_similarity"}) {
      loss_of(kind, record, "scope = \"global\"").backward({}, /*retain_graph=*/true);
    }
    EXPECT_GT(logits.grad().abs().sum().item<double>(), 0);
  }
}

// p = (3/4, 1/4) twice; both experts are used, the first choice is always expert 0.
TEST(Balance, CountsAllChoicesOrTheFirst) {
  const float three = std::log(3.0f);
  const at::Tensor logits = tensor_of({three, 0, three, 0}).reshape({1, 2, 2});
  const RoutingRecord record =
      record_of(scores_of("softmax", logits), {.pairs = Pairs::of_mask(logits.ge(0))}, 2);
  EXPECT_NEAR(loss_of("balance", record).item<double>(), 1, 1e-6);
  EXPECT_NEAR(loss_of("balance", record, "count = \"first\"").item<double>(), 2 * 0.75, 1e-6);
}

TEST(Balance, ReadsWhatWasChosenBeforeACapacityDroppedIt) {
  const at::Tensor logits = tensor_of({1, 0, 1, 0}).reshape({1, 2, 2});
  const at::Tensor chosen = logits.gt(0), kept = tensor_of({1, 0, 0, 0}).reshape({1, 2, 2});
  const Scores scores = scores_of("softmax", logits);
  const double before =
      loss_of("balance", record_of(scores, {.pairs = Pairs::of_mask(chosen)}, 1)).item<double>();
  EXPECT_EQ(loss_of("balance", record_of(scores,
                                         {.pairs = Pairs::of_mask(kept.to(at::kBool)),
                                          .before_drops = Pairs::of_mask(chosen)},
                                         1))
                .item<double>(),
            before);
}

// A share of the maximum: 1 at uniform, 0 at certain routing, and by the published epsilon a little
// less; without it and with q = 1.1 the maximum over 8 is 1.8775 (the notes on DynMoLE).
TEST(Entropy, OfUniformAndCertainRouting) {
  const at::Tensor uniform = at::zeros({1, 3, 8});
  RoutingRecord record =
      record_of(scores_of("softmax", uniform), {.pairs = Pairs::of_mask(uniform.eq(0))}, 8);
  const auto entropy = [&](const std::string& toml) {
    return loss_of("entropy", record, toml).item<double>();
  };
  EXPECT_NEAR(entropy("eps = 0"), 1, 1e-6);
  EXPECT_NEAR(entropy("q = 1.1\neps = 0"), 1, 1e-6);
  EXPECT_NEAR(entropy("q = 1.1"), 0.9996, 5e-5);
  record.logits_BLE = tensor_of({1000, 0, 0, 0}).reshape({1, 1, 4});
  EXPECT_EQ(entropy("eps = 0"), 0);
  EXPECT_NEAR(entropy("q = 1.1\neps = 0"), 0, 1e-6);
  EXPECT_NEAR(entropy("q = 1.1"), -1.5e-4, 5e-5);
  // 3/4 and 1/4: 2 - 3/4 log2(3) bits of 1.
  record.logits_BLE = tensor_of({1.0986123f, 0}).reshape({1, 1, 2});
  EXPECT_NEAR(entropy("eps = 0"), 2 - 0.75 * std::log2(3.0), 1e-6);
}

TEST(Losses, OneExpertHasNothingToBalance) {
  const at::Tensor logits = at::ones({1, 4, 1});
  RoutingRecord record =
      record_of(scores_of("sigmoid", logits), {.pairs = Pairs::of_mask(logits.gt(0))}, 1);
  record.extras = {{"clean_logits", logits}, {"noise_scale", logits}};
  EXPECT_EQ(loss_of("importance", record).item<double>(), 0);
  EXPECT_EQ(loss_of("load", record).item<double>(), 0);
  EXPECT_EQ(loss_of("balance", record).item<double>(), 1);
  EXPECT_EQ(loss_of("entropy", record).item<double>(), 0);
  EXPECT_EQ(loss_of("entropy", record, "q = 1.1").item<double>(), 0);
}

TEST(Losses, SayWhatTheirRouterDoesNotShow) {
  const at::Tensor logits = at::zeros({1, 4, 2});
  const RoutingRecord record =
      record_of(scores_of("sigmoid", logits), {.pairs = Pairs::of_mask(logits.eq(0))}, 1);
  EXPECT_THROW(loss_of("load", record), Error);
  EXPECT_THROW(loss_of("contrastive", record), Error);
}

}  // namespace
}  // namespace gallop::sparse
