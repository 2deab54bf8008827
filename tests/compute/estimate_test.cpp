#include "gallop/compute/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/nn/row_table.h"
#include "gallop/runs/restore.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_run.h"

namespace gallop::compute {
namespace {

using training::recipe_in;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Estimate estimate_of(std::vector<std::string> overrides) {
  overrides.insert(overrides.begin(), "eval.every=0");
  const runs::Recipe recipe = recipe_in("unused", overrides);
  const auto task = runs::make_task(recipe);
  return estimate(*task->make_model(), recipe, task->memory());
}

uint64_t activations(const std::string& mlp) {
  return estimate_of({"model.mlp=" + mlp}).activations;
}

// The copy that saves are written from is the model, its average and two moments.
TEST(Estimate, CountsTheCopyOfBackgroundSaves) {
  const Estimate none = estimate_of({"checkpoint.every=100"}),
                 some = estimate_of({"checkpoint.every=5"});
  EXPECT_EQ(none.saving, 0U);
  EXPECT_EQ(some.saving,
            4 * static_cast<uint64_t>(2 * some.counts.total + 2 * some.counts.trainable));
  EXPECT_EQ(some.peak, none.peak + some.saving);
  EXPECT_EQ(estimate_of({"checkpoint.every=5", "checkpoint.background_save=false"}).saving, 0U);
}

TEST(Estimate, CountsPackedWeightsOfAnEvaluation) {
  EXPECT_EQ(estimate_of({}).evaluation, 0U);
  const uint64_t few = estimate_of({"eval.every=4", "eval.batch=1"}).evaluation,
                 many = estimate_of({"eval.every=4", "eval.batch=11"}).evaluation;
  const Estimate e = estimate_of({});
  EXPECT_GT(few, 4 * static_cast<uint64_t>(e.counts.paper_total));
  EXPECT_GT(many, few);
  EXPECT_GT(estimate_of({"sample.every=4"}).evaluation, few);
}

TEST(Estimate, CountsGradientsOfEarlierMicroBatches) {
  const Estimate one = estimate_of({}), several = estimate_of({"train.accumulate=2"});
  EXPECT_GE(several.peak, one.peak + one.gradients);
}

// The report's case: experts with and without bias, and gated ones, keep about the same.
TEST(Estimate, ActivationsDoNotHangOnABias) {
  const std::string sizes = "kind=\"moe\",experts=4,active=2,hidden=64,expert=";
  const auto of = [&](const std::string& expert) {
    return activations("{" + sizes + expert + "}");
  };
  const uint64_t dense = activations("{kind=\"dense\",hidden=128}");
  EXPECT_EQ(of("{kind=\"mlp\",bias=false}"), of("{kind=\"mlp\"}"));
  EXPECT_GT(of("{kind=\"mlp\"}"), 3 * dense / 4);
  EXPECT_GT(of("{kind=\"glu\"}"), of("{kind=\"mlp\"}"));
  EXPECT_GT(of("{kind=\"mlp\",activation=\"relu\"}"), of("{kind=\"mlp\"}"));
  EXPECT_GT(of("{kind=\"unequal\",widths=[32,96,64,64]}"), of("{kind=\"mlp\"}"));
  EXPECT_GT(of("{kind=\"shared\"}"), of("{kind=\"mlp\"}"));
}

// Each part whose memory no matrix shows says it itself.
TEST(Estimate, CountsWhatKindsKeepBesideTheirMatrices) {
  for (const char* more :
       {"model.mlp.router=\"centroid\"", "model.mlp.gate=\"smoothed\"", "model.mlp.active=4",
        "model.mlp.expert=\"neuron\"", "model.attention={kind=\"moh\",shared=1,active=1}",
        "model.block_routing={kind=\"mor\",recursions=3}",
        "model.block_routing=\"timestep_mask\""}) {
    EXPECT_GT(estimate_of({"model.mlp.setting=\"\"", "model.mlp.hidden=8", "model.mlp.active=2",
                           "model.mlp.experts=4", "model.mlp.losses.per_layer.weight=0", more})
                  .activations,
              estimate_of({"model.mlp.setting=\"\"", "model.mlp.hidden=8", "model.mlp.active=2",
                           "model.mlp.experts=4", "model.mlp.losses.per_layer.weight=0"})
                  .activations)
        << more;
  }
  const char* no_head = "model.mlp.losses.per_layer.weight=0";
  EXPECT_LT(estimate_of({no_head, "model.block_routing={kind=\"mod\",share=0.25}"}).activations,
            estimate_of({no_head}).activations);
  EXPECT_GT(activations("{kind=\"soft_moe\",experts=4,slots=2}"), 0U);
}

struct TableModel : models::Model {
  int64_t tokens() const override { return 4; }
  std::string summary() const override { return "a table"; }
  nn::RowTable table{*this, "table", 1'000'000, 32, {.lookups = 2}};
};

// Value, average, two moments, the gap of the average, and a clock of 8 bytes a row; no gradient of
// the table's size, and of its rows those that a token looks up.
TEST(Estimate, CountsTablesOfRows) {
  const runs::Recipe recipe = recipe_in("unused", {"eval.every=0", "checkpoint.every=5"});
  const Estimate e = estimate(TableModel(), recipe, runs::make_task(recipe)->memory());
  EXPECT_EQ(e.counts.trainable, 32'000'000);
  EXPECT_DOUBLE_EQ(e.counts.active, 2 * 32);
  EXPECT_EQ(e.flops_per_step, 0);
  EXPECT_EQ(e.weights, 5U * 4 * 32'000'000 + 8U * 1'000'000);
  EXPECT_EQ(e.saving, e.weights);
  EXPECT_EQ(e.gradients, 0U);
  EXPECT_LT(e.activations, 1'000'000U);
}

TEST(Estimate, SaysWhatWouldHelp) {
  Estimate e = estimate_of({"eval.every=4", "checkpoint.every=5"});
  const auto message = [&] { return testing::message_of([&] { require_memory(e, 1e-9); }); };
  EXPECT_EQ(testing::message_of([&] { require_memory(e, 0); }), "no error");
  EXPECT_THAT(message(), HasSubstr("checkpoint.background_save = false"));
  e.saving = 0;
  e.evaluation = 2 * e.activations + 2 * e.gradients;
  EXPECT_THAT(message(),
              AllOf(HasSubstr("smaller task.eval.batch"), Not(HasSubstr("background_save"))));
  e.evaluation = 0;
  EXPECT_THAT(message(), HasSubstr("smaller train.batch"));
}

// 16 tokens: 16 * 1 / 12 = 1.33 tokens an expert, of which one is kept: 12 / 16 experts a token.
TEST(Estimate, TellsOfPoolsThatRound) {
  const auto said = [](const std::string& selection, const std::string& setting) {
    const runs::Recipe recipe = recipe_in(
        "unused",
        {"model.mlp.selection=" + selection, "model.mlp.setting=" + setting, "model.mlp.hidden=8"});
    return rounding_of_experts(*runs::make_task(recipe)->make_model());
  };
  EXPECT_THAT(said("expert", "1-in-12"), HasSubstr("keeps 0.75 experts a token, not the 1"));
  EXPECT_EQ(said("expert", "2-in-4"), "");
  EXPECT_EQ(said("race", "1-in-12"), "");
}

}  // namespace
}  // namespace gallop::compute
