#include "gallop/compute/dial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "gallop/compute/dial_report.h"
#include "gallop/models/counts.h"
#include "gallop/runs/restore.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/training/trainer.h"
#include "tests/support/collected_scores.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"
#include "tests/tasks/image_task.h"

namespace gallop::compute {
namespace {

using training::collect_scores;
using training::LayerScores;
using training::message_of;
using training::recipe_in;
using training::Trainer;

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t batches = 8;

/// Images of these labels, each with its own setting of the thresholds, or all with one.
at::Tensor drawn_with(const tasks::Task& task, const models::Model& model,
                      const std::vector<int64_t>& labels,
                      const std::vector<const sparse::ThresholdSetting*>& thresholds) {
  const tasks::Generator& generator = *task.generator();
  const auto asked = generator.settings();
  auto& settings = dynamic_cast<tasks::SampleSettings&>(*asked);
  settings.steps = 2;
  settings.guidance = 1.5;
  for (const int64_t label : labels) settings.labels.push_back("@" + std::to_string(label));
  settings.count = static_cast<int64_t>(labels.size());
  tasks::Plan plan = generator.plan(model, settings);
  for (size_t i = 0; i < labels.size() && !thresholds.empty(); ++i) {
    plan.requests[i].thresholds = thresholds[std::min(i, thresholds.size() - 1)];
  }
  return testing::drawn(generator, model, plan);
}

class Dial : public ::testing::TestWithParam<const char*> {
 protected:
  Dial() {
    Trainer(recipe_in(folder_ / "run", {std::string("model.mlp.selection=") + GetParam()})).run();
    run_ = runs::restore(folder_ / "run");
  }

  /// Experts a token that a layer keeps by the thresholds of a range.
  static double kept_by(const DialSetting& setting, const LayerScores& layer, int64_t range = 0) {
    const std::string selection = GetParam();
    at::Tensor tau =
        setting.thresholds.at(layer.selection->threshold()->name()).values.select(0, range);
    if (selection == "be") tau = tau.unsqueeze(-1);  // one a position
    const at::Tensor &scores = layer.compared_NLE,
                     kept = selection == "diffmoe" ? scores.gt(tau) : scores.ge(tau);
    return kept.sum().item<double>() / static_cast<double>(scores.numel() / scores.size(2));
  }

  static tasks::CalibrationRun run_with(const DialSetting& setting) {
    return {.batches = batches, .training = false, .thresholds = &setting.thresholds};
  }
  double experts_per_token() const {
    return tasks::evaluate(*run_.task, *run_.model).values.at("experts_per_token");
  }

  TemporaryDirectory folder_;
  runs::Restored run_;
};

// For every kind with thresholds: a model with those for k keeps k of the E scores of a token, on
// average over the data they were measured on.
TEST_P(Dial, KeepsWhatIsAskedFor) {
  const std::vector<double> actives = {0.5, 1, 2, 3.25, 4};
  const auto settings =
      measure_dial(*run_.task, *run_.model, {.actives = actives, .batches = batches});
  ASSERT_EQ(settings.size(), actives.size());
  for (const DialSetting& setting : settings) {
    const auto layers = collect_scores(*run_.task, *run_.model, run_with(setting)).layers;
    ASSERT_EQ(layers.size(), 2U);
    for (const LayerScores& layer : layers) {
      // Every pool rounds its number of kept scores down.
      EXPECT_NEAR(kept_by(setting, layer), setting.active, 0.03) << layer.layer;
    }
  }
}

// What each range uses is what the setting says, and on average at most what is asked for.
TEST_P(Dial, KeepsWhatIsAskedForInEveryRange) {
  const auto settings =
      measure_dial(*run_.task, *run_.model, {.actives = {1, 2.5}, .batches = batches, .ranges = 3});
  ASSERT_EQ(settings.size(), 2U);
  for (const DialSetting& setting : settings) {
    ASSERT_EQ(setting.range_active.size(), 3U);
    ASSERT_EQ(setting.edges().size(), 2U);
    EXPECT_LT(setting.edges()[0], setting.edges()[1]);
    double sum = 0;
    for (const double active : setting.range_active) sum += active;
    EXPECT_LE(sum / 3, setting.active + 0.1);
    EXPECT_GE(sum / 3, 0.5);
    const auto scores = collect_scores(*run_.task, *run_.model, run_with(setting));
    // The published rule of DiffMoE counts in the whole batch, whatever the noise levels in it.
    if (!scores.layers.at(0).selection->independent_at_inference()) continue;
    const at::Tensor range_N = sparse::ThresholdLevels{setting.edges(), {}}.range_of(scores.time_N);
    for (int64_t range = 0; range < 3; ++range) {
      const at::Tensor samples_M = range_N.eq(range).nonzero().squeeze(1);
      // 8 batches of 6 samples, a third each.
      EXPECT_NEAR(static_cast<double>(samples_M.size(0)), 16, 1);
      double kept = 0;
      for (LayerScores layer : scores.layers) {
        layer.compared_NLE = layer.compared_NLE.index_select(0, samples_M);
        kept += kept_by(setting, layer, range) / 2;
      }
      EXPECT_NEAR(kept, setting.range_active[range], 1e-6) << range;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Selections, Dial, ::testing::Values("race", "bl", "be", "diffmoe"),
                         [](const auto& info) { return std::string(info.param); });

using RaceDial = Dial;

TEST_P(RaceDial, CostsMoreAndUsesMore) {
  const double before = experts_per_token();
  const auto settings =
      measure_dial(*run_.task, *run_.model, {.actives = {0.5, 1, 2, 4}, .batches = batches});
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
  EXPECT_EQ(experts_per_token(), before);
  EXPECT_THAT(to_markdown(rows), HasSubstr("| 0.5 | "));
  EXPECT_THAT(to_svg(rows), HasSubstr("<svg"));

  const formats::Artifact drawn =
      draw_dial_sheet(*run_.task->generator(), *run_.model, settings, 2);
  const auto& sheet = std::get<formats::Image>(drawn.content);
  EXPECT_GT(sheet.width, sheet.height) << "three classes, eight columns";
  EXPECT_EQ(experts_per_token(), before);
}

TEST_P(RaceDial, ComesBackFromItsFileForTheSameWeightsOnly) {
  const auto settings = measure_dial(*run_.task, *run_.model,
                                     {.actives = {0.5, 1.5}, .batches = batches, .ranges = 2});
  const auto file = folder_ / "dial.safetensors";
  save_dial(file, settings, run_.metadata);
  const DialSetting loaded = load_dial(file, 1.5, run_.metadata);
  ASSERT_EQ(loaded.thresholds.size(), 2U);
  for (const auto& [name, levels] : settings[1].thresholds) {
    EXPECT_TRUE(loaded.thresholds.at(name).values.equal(levels.values)) << name;
    EXPECT_EQ(loaded.thresholds.at(name).edges, levels.edges) << name;
  }
  EXPECT_EQ(loaded.range_active, settings[1].range_active);
  EXPECT_THAT(to_markdown(try_dial(*run_.task, *run_.model, settings)),
              HasSubstr("| time given to the network | 0.5 experts | 1.5 experts |"));
  EXPECT_THAT(message_of([&] { load_dial(file, 2, run_.metadata); }),
              AllOf(HasSubstr("no setting for 2"), HasSubstr("0.5 and 1.5")));
  auto other = run_.metadata;
  other["step"] = "11";
  EXPECT_THAT(message_of([&] { load_dial(file, 1.5, other); }),
              AllOf(HasSubstr("measured on other weights"), HasSubstr("step '12'")));

  const runs::Restored wider = [&] {
    Trainer(recipe_in(folder_ / "dense", {"model.mlp={kind=\"dense\"}"})).run();
    return runs::restore(folder_ / "dense");
  }();
  EXPECT_THAT(message_of([&] { require_fit(*wider.model, loaded); }),
              HasSubstr("blocks.0.moe.router.threshold"));
  EXPECT_TRUE(measure_dial(*wider.task, *wider.model, {.actives = {1}, .batches = 1}).empty());
  const auto error = [&](const DialOptions& options) {
    return message_of([&] { measure_dial(*run_.task, *run_.model, options); });
  };
  EXPECT_THAT(error({.actives = {4.5}, .batches = 1}), HasSubstr("at most the 4"));
  EXPECT_THAT(error({.actives = {1}, .batches = 1, .ranges = 60}),
              HasSubstr("60 ranges of noise levels and only 6 samples"));
}

// Rows of one batch run with settings of their own, and are what each setting alone gives.
TEST_P(RaceDial, GoesByTheRow) {
  const auto settings =
      measure_dial(*run_.task, *run_.model, {.actives = {0.5, 4}, .batches = batches});
  const auto drawn = [&](const std::vector<const sparse::ThresholdSetting*>& thresholds) {
    return drawn_with(*run_.task, *run_.model, {0, 1, 2, 0, 1, 2}, thresholds);
  };
  const sparse::ThresholdSetting *few = &settings[0].thresholds, *all = &settings[1].thresholds;
  const at::Tensor with_few = drawn({few}), with_all = drawn({all}), with_own = drawn({});
  EXPECT_FALSE(with_few.allclose(with_all, 1e-5, 1e-5));
  const at::Tensor mixed = drawn({few, all, nullptr, all, few, few});
  const std::vector<at::Tensor> alone = {with_few, with_all, with_own,
                                         with_all, with_few, with_few};
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(mixed[i].allclose(alone[static_cast<size_t>(i)][i], 1e-5, 1e-5)) << i;
  }
}

// One model, which nothing changes, and threads that sample it with other settings at once.
TEST_P(RaceDial, IsOfTheRequestAndNotOfTheModel) {
  const auto settings =
      measure_dial(*run_.task, *run_.model, {.actives = {0.5, 4}, .batches = batches});
  const models::Model& model = *run_.model;
  const auto drawn = [&](const DialSetting& setting) {
    return drawn_with(*run_.task, model, {0, 1, 2, 1}, {&setting.thresholds});
  };
  const std::vector<at::Tensor> expected = {drawn(settings[0]), drawn(settings[1])};
  std::vector<at::Tensor> found(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < found.size(); ++i) {
    threads.emplace_back([&, i] { found[i] = drawn(settings[i % 2]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(found[i].equal(expected[i % 2])) << i;
}

INSTANTIATE_TEST_SUITE_P(Race, RaceDial, ::testing::Values("race"));

}  // namespace
}  // namespace gallop::compute
