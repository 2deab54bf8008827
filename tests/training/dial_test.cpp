#include "gallop/training/dial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/models/counts.h"
#include "gallop/sparse/selection.h"
#include "gallop/training/calibrate.h"
#include "gallop/training/dial_report.h"
#include "gallop/training/restore.h"
#include "gallop/training/trainer.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t batches = 8;

class Dial : public ::testing::TestWithParam<const char*> {
 protected:
  Dial() {
    Trainer(recipe_in(folder_ / "run", {std::string("model.mlp.selection=") + GetParam()})).run();
    run_ = restore(folder_ / "run");
  }

  TemporaryDirectory folder_;
  Restored run_;
};

// For every kind with thresholds: a model with those for k keeps k of the E scores of a token, on
// average over the data they were measured on.
TEST_P(Dial, KeepsWhatIsAskedFor) {
  const std::vector<double> actives = {0.5, 1, 2, 3.25, 4};
  const auto settings = measure_dial(*run_.task, *run_.model, actives, batches);
  ASSERT_EQ(settings.size(), actives.size());
  const ThresholdGuard guard(*run_.model);
  for (const DialSetting& setting : settings) {
    turn_dial(*run_.model, setting);
    const auto layers =
        collect_scores(*run_.task, *run_.model, batches, tasks::Task::Routing::inference);
    ASSERT_EQ(layers.size(), 2U);
    for (const LayerScores& layer : layers) {
      at::Tensor tau = setting.thresholds.at(layer.selection->threshold()->name());
      if (std::string(GetParam()) == "be") tau = tau.unsqueeze(-1);  // one a position
      const auto tokens = static_cast<double>(layer.gate_NLE.numel() / layer.gate_NLE.size(2));
      const double kept = layer.gate_NLE.ge(tau).sum().item<double>() / tokens;
      // Every pool rounds its number of kept scores down.
      EXPECT_NEAR(kept, setting.active, 0.03) << layer.layer;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Selections, Dial, ::testing::Values("race", "bl", "be"));

using RaceDial = Dial;

TEST_P(RaceDial, CostsMoreAndUsesMoreAndLeavesTheModelAsItWas) {
  const double before = run_.task->evaluate(*run_.model).experts_per_token;
  const auto settings = measure_dial(*run_.task, *run_.model, {0.5, 1, 2, 4}, batches);
  const auto rows = try_dial(*run_.task, *run_.model, settings);
  ASSERT_EQ(rows.size(), 4U);
  for (size_t i = 1; i < rows.size(); ++i) {
    EXPECT_GT(rows[i].experts_per_token, rows[i - 1].experts_per_token);
    EXPECT_GT(rows[i].multiply_adds, rows[i - 1].multiply_adds);
  }
  EXPECT_EQ(rows[3].experts_per_token, 4) << "all experts";
  // An expert is 2 * 16 * 32 multiply-adds a token, in two layers of 16 tokens.
  EXPECT_NEAR(rows[3].multiply_adds - models::multiply_adds_with(*run_.model, 0.5),
              3 * 2 * 16 * 32 * 2 * 16, 1);
  EXPECT_EQ(run_.task->evaluate(*run_.model).experts_per_token, before);
  EXPECT_THAT(to_markdown(rows), HasSubstr("| 0.5 | "));
  EXPECT_THAT(to_svg(rows), HasSubstr("<svg"));

  tasks::SampleRequest request;
  request.steps = 2;
  const formats::Image sheet = draw_dial_sheet(*run_.task, *run_.model, settings, request, 2);
  EXPECT_GT(sheet.width, sheet.height) << "three classes, eight columns";
  EXPECT_EQ(run_.task->evaluate(*run_.model).experts_per_token, before);
}

TEST_P(RaceDial, ComesBackFromItsFileForTheSameWeightsOnly) {
  const auto settings = measure_dial(*run_.task, *run_.model, {0.5, 1.5}, batches);
  const auto file = folder_ / "dial.safetensors";
  save_dial(file, settings, run_.metadata);
  const DialSetting loaded = load_dial(file, 1.5, run_.metadata);
  ASSERT_EQ(loaded.thresholds.size(), 2U);
  for (const auto& [name, threshold] : settings[1].thresholds) {
    EXPECT_TRUE(loaded.thresholds.at(name).equal(threshold)) << name;
  }
  EXPECT_THAT(message_of([&] { load_dial(file, 2, run_.metadata); }),
              AllOf(HasSubstr("no setting for 2"), HasSubstr("0.5 and 1.5")));
  auto other = run_.metadata;
  other["step"] = "11";
  EXPECT_THAT(message_of([&] { load_dial(file, 1.5, other); }),
              AllOf(HasSubstr("measured on other weights"), HasSubstr("step '12'")));

  const Restored wider = [&] {
    Trainer(recipe_in(folder_ / "dense", {"model.mlp={kind=\"dense\"}"})).run();
    return restore(folder_ / "dense");
  }();
  EXPECT_THAT(message_of([&] { turn_dial(*wider.model, loaded); }),
              HasSubstr("blocks.0.moe.router.threshold"));
  EXPECT_TRUE(measure_dial(*wider.task, *wider.model, {1}, 1).empty());
  EXPECT_THAT(message_of([&] { measure_dial(*run_.task, *run_.model, {4.5}, 1); }),
              HasSubstr("at most the 4"));
}

INSTANTIATE_TEST_SUITE_P(Race, RaceDial, ::testing::Values("race"));

}  // namespace
}  // namespace gallop::training
