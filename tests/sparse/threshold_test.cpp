#include "gallop/sparse/choice/threshold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <regex>

#include "gallop/base/error.h"
#include "gallop/sparse/choice/selection.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;
using testing::tensor_of;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A race with its threshold, as a run uses it.
class Race {
 public:
  Race(const std::string& settings, int64_t tokens, int64_t experts, double active)
      : selection_(testing::make<Selection>(
            "kind = \"race\"\n" + settings,
            {.parent = &parent_, .experts = experts, .tokens = tokens, .active = active})) {
    parent_.materialize(/*seed=*/0);
  }
  Selected select(const at::Tensor& logits_BLE, bool training) const {
    return selection_->select({logits_BLE, logits_BLE, logits_BLE}, {.training = training});
  }
  /// A training forward whose update is applied as that of step `applied`.
  Selected step(const at::Tensor& logits_BLE, int64_t applied = 0) const {
    Selected selected = select(logits_BLE, /*training=*/true);
    for (const PendingUpdate& update : selected.pending) update.commit(applied);
    return selected;
  }
  at::Tensor tau() const { return **selection_->threshold(); }
  Selection& selection() const { return *selection_; }

 private:
  nn::Module parent_;
  std::unique_ptr<Selection> selection_;
};

// A race over the whole step needs the step to be one micro-batch.
TEST(Threshold, AGlobalPoolIsOneMicroBatch) {
  for (const std::string kind : {"race", "bl", "be"}) {
    nn::Module parent;
    const auto selection =
        testing::make<Selection>("kind = \"" + kind + "\"\nscope = \"global\"",
                                 {.parent = &parent, .experts = 2, .tokens = 2, .active = 1});
    parent.materialize(/*seed=*/0);
    const at::Tensor logits = tensor_of({1, 2, 3, 4}).reshape({1, 2, 2});
    const auto select = [&](int64_t micro_batches) {
      return testing::message_of([&] {
        selection->select({logits, logits, logits},
                          {.training = true, .micro_batches = micro_batches});
      });
    };
    EXPECT_EQ(select(1), "no error");
    EXPECT_THAT(select(4), ::testing::HasSubstr("a step has 4 micro-batches")) << kind;
  }
}

// From "momentum 0.9, tau starts at 1", or "... tau starts as the first kappa".
std::string settings_of(const std::string& text) {
  std::smatch found;
  require(std::regex_match(
              text, found,
              std::regex("momentum ([0-9.eE-]+), tau starts (at ([0-9.eE+-]+)|as the first "
                         "kappa)")),
          "a threshold of \"", text, "\"");
  return "warmup = false\nmomentum = " + found[1].str() +
         (found[3].matched ? "\ninitial = " + found[3].str() : "");
}

REFERENCE_TEST(ThresholdCases, FollowTheReference, "routing/threshold") {
  const Json& config = fixture.config();
  const int64_t steps = config.at("steps").as_int();
  for (const auto& [name, setting] : config.at("settings").as_object()) {
    const std::string out = "out." + name;
    const Race race(settings_of(setting.as_string()), config.at("L").as_int(),
                    config.at("E").as_int(), config.at("k").as_double());
    const at::Tensor tau = fixture.tensor(out + ".tau").clone(), kappa = tau.clone();
    for (int64_t i = 0; i < steps; ++i) {
      kappa[i].copy_(race.step(fixture.in("logits")[i]).kappa[0]);
      tau[i].copy_(race.tau());
    }
    fixture.expect_close(kappa, "out.kappa");
    fixture.expect_close(tau, out + ".tau");
    const at::Tensor mask = race.select(fixture.in("infer_logits"), false).mask_BLE();
    fixture.expect_close(mask, out + ".infer_mask");
    fixture.expect_close(mask.mul(fixture.in("infer_logits")), out + ".infer_weight");
  }

  const at::Tensor equal_logits = fixture.in("equal_logits");
  const Race equal("", equal_logits.size(1), equal_logits.size(2),
                   1);  // equality counts as selected
  equal.tau().copy_(fixture.in("equal_tau"));
  fixture.expect_close(equal.select(equal_logits, false).mask_BLE(), "out.equal_mask");
  fixture.expect_all_checked();
}

TEST(Threshold, WarmsItsMomentumUp) {
  const ThresholdSettings settings;
  EXPECT_DOUBLE_EQ(settings.momentum_at(0), 1.0 / 10);
  EXPECT_DOUBLE_EQ(settings.momentum_at(5), 6.0 / 15);
  EXPECT_DOUBLE_EQ(settings.momentum_at(890), 0.99);  // (1 + s) / (10 + s) reaches 0.99 here
  EXPECT_DOUBLE_EQ(settings.momentum_at(100000), 0.99);
  ThresholdSettings constant;
  constant.warmup = false;
  EXPECT_DOUBLE_EQ(constant.momentum_at(0), 0.99);
}

TEST(Threshold, StartsAtTheFirstKappaAndStaysWhereNothingWasSelected) {
  const at::Tensor tau = tensor_of({kNaN, 1, kNaN, 2});
  update_threshold(tau, tensor_of({3, 2, kInfinity, kInfinity}), 0.75);
  EXPECT_EQ(tau[0].item<float>(), 3);
  EXPECT_EQ(tau[1].item<float>(), 1.25f);
  EXPECT_TRUE(tau[2].isnan().item<bool>());
  EXPECT_EQ(tau[3].item<float>(), 2);
}

TEST(Threshold, AForwardChangesNothing) {
  const Race race("", 6, 8, 2);
  Selected first = race.select(random_normal({2, 6, 8}, "first"), /*training=*/true);
  EXPECT_TRUE(race.tau().isnan().item<bool>());
  ASSERT_EQ(first.pending.size(), 1u);
  first.pending[0].commit(0);
  EXPECT_EQ(race.tau().item<float>(), first.kappa[0].item<float>());
}

// Point 6 of the verification list of Expert Race. 200 batches of 512 independent scores, k = 2 of
// 8: after warm-up a token gets 2 experts within the sampling error, and kappa of a stationary
// stream is the 3/4 quantile of the standard normal distribution, 0.67449.
TEST(Threshold, KeepsKExpertsATokenOnAStationaryStream) {
  constexpr int64_t batch = 4, tokens = 16, experts = 8, batches = 200;
  const Race race("", tokens, experts, 2);
  double kappa = 0, kept = 0;
  for (int64_t i = 0; i < batches; ++i) {
    const at::Tensor logits =
        random_normal({batch, tokens, experts}, "stream " + std::to_string(i));
    kappa += race.step(logits, i).kappa[0].item<double>() / batches;
  }
  EXPECT_NEAR(kappa, 0.67449, 0.01);
  EXPECT_NEAR(race.tau().item<double>(), 0.67449, 0.02);
  for (int64_t i = 0; i < batches; ++i) {
    const at::Tensor logits = random_normal({batch, tokens, experts}, "fresh " + std::to_string(i));
    kept += race.select(logits, false).mask_BLE().sum().item<double>();
  }
  // The deviation of the mean is sqrt(8 * 3/16 / 12800) = 0.011; a threshold off by 0.02 adds 0.05.
  EXPECT_NEAR(kept / (batches * batch * tokens), 2, 0.08);
}

TEST(Threshold, ExactValueKeepsKExpertsATokenOfItsSample) {
  const Race race("", 16, 8, 2);
  const at::Tensor scores = random_normal({64, 16, 8}, "calibration");
  race.tau().copy_(race.selection().exact_threshold(scores));
  EXPECT_EQ(race.select(scores, false).mask_BLE().sum().item<int64_t>(), 64 * 16 * 2);
}

TEST(Threshold, RefusesAMomentumAboveOne) {
  EXPECT_THROW(testing::component("selection", "kind = \"race\"\nmomentum = 1.5"), Error);
}

}  // namespace
}  // namespace gallop::sparse
