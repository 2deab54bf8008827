// Experts, heads, depths and masks are chosen alike, and counted apart.
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/compute/dial_report.h"
#include "gallop/models/counts.h"
#include "gallop/runs/restore.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/sparse/statistics.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/training/trainer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::sparse {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

// `kept` of E are taken by each of 4 tokens.
RoutingRecord record_of(Choice choice, double active, int64_t kept, int64_t E) {
  RoutingRecord record;
  record.choice = choice;
  record.active = active;
  const at::Tensor mask_BLE = at::zeros({1, 4, E}, at::TensorOptions(at::kBool));
  mask_BLE.narrow(2, 0, kept).fill_(true);
  record.kept = keep(Pairs::of_mask(mask_BLE), mask_BLE.to(at::kFloat));
  record.logits_BLE = at::zeros({1, 4, E});
  return record;
}

// Two heads a token beside four wanted experts of which half an expert is used.
TEST(UnlikeChoices, AreAveragedApart) {
  std::vector<RoutingRecord> records;
  for (int layer = 0; layer < 2; ++layer) {
    records.push_back(record_of(Choice::head, 2, 2, 6));
    records.push_back(record_of(Choice::expert, 4, layer, 8));
    records.push_back(record_of(Choice::depth, 1.5, 3, 3));
    records.push_back(record_of(Choice::mask, 2, 2, 2));
  }
  RoutingTotals totals;
  totals.add(records);
  EXPECT_EQ(totals.statistics().active, 4);
  EXPECT_EQ(totals.statistics().experts_per_token, 0.5);
  EXPECT_EQ(totals.statistics().starved, 0.5);
  EXPECT_EQ(totals.statistics(Choice::head).experts_per_token, 2);
  EXPECT_DOUBLE_EQ(totals.statistics(Choice::head).max_violation, 2);  // (4 - 4/3) / (4/3)
  EXPECT_EQ(totals.statistics(Choice::depth).experts_per_token, 3);
  EXPECT_THAT(totals.choices(),
              ElementsAre(Choice::head, Choice::expert, Choice::depth, Choice::mask));
  EXPECT_EQ(statistics_of(records).experts_per_token, 0.5);
}

TEST(UnlikeChoices, HeadsAloneAreNoExperts) {
  std::vector<RoutingRecord> records;
  records.push_back(record_of(Choice::head, 2, 2, 6));
  EXPECT_EQ(statistics_of(records).active, 0);
  EXPECT_EQ(statistics_of(records).experts_per_token, 0);
}

class Constant : public RecordLoss {
 public:
  Constant(double weight, double value)
      : RecordLoss("balance", weight,
                   [value](const RoutingRecord&) { return at::ones({}).mul(value); }) {}
};

// The weight of the first layer is not that of all.
TEST(UnlikeChoices, LossesKeepTheirWeights) {
  std::vector<RoutingRecord> records;
  std::vector<std::vector<std::unique_ptr<SparseLoss>>> losses(4);
  const auto add = [&](Choice choice, double weight, double value) {
    losses[records.size()].push_back(std::make_unique<Constant>(weight, value));
    RoutingRecord record = record_of(choice, 1, 1, 2);
    record.losses = &losses[records.size()];
    records.push_back(std::move(record));
  };
  add(Choice::head, 0.5, 10);
  add(Choice::expert, 0.25, 1);
  add(Choice::expert, 0.25, 2);
  add(Choice::expert, 0.125, 4);
  double sum = 0;
  std::vector<std::string> names;
  for (const LossTotal& total : total_losses(records, {})) {
    sum += total.weight * total.value.item<double>();
    names.push_back(total.kind);
  }
  EXPECT_EQ(sum, 0.5 * 10 + 0.25 * 3 + 0.125 * 4);
  EXPECT_THAT(names, UnorderedElementsAre("heads_balance", "balance", "balance"));
}

TEST(UnlikeChoices, AKindThatIsAloneKeepsItsName) {
  std::vector<std::unique_ptr<SparseLoss>> losses;
  losses.push_back(std::make_unique<Constant>(1, 1));
  std::vector<RoutingRecord> records;
  records.push_back(record_of(Choice::head, 1, 1, 2));
  records[0].losses = &losses;
  EXPECT_EQ(total_losses(records, {}).at(0).kind, "balance");
}

// A run with both: what is said of experts is of experts, in the log and in the compute dial.
TEST(UnlikeChoices, OfARun) {
  const test::TemporaryDirectory folder;
  const std::vector<std::string> heads = {"model.attention={kind=\"moh\",shared=0,active=1}",
                                          "model.mlp.setting=\"1-in-4\"", "model.mlp.hidden=8"};
  training::Trainer(training::recipe_in(folder / "run", heads)).run();
  const runs::Restored run = runs::restore(folder / "run");
  const std::map<std::string, double> values = tasks::evaluate(*run.task, *run.model).values;
  EXPECT_EQ(values.at("heads_per_token"), 1);
  for (const char* name : {"heads_per_token", "heads_max_violation", "heads_starved"}) {
    EXPECT_EQ(training::logged(folder / "run", "eval", name).size(), 3U) << name;
  }
  EXPECT_EQ(training::logged(folder / "run", "eval", "experts_per_token").back(),
            values.at("experts_per_token"));
  EXPECT_EQ(training::logged(folder / "run", "train", "heads_max_violation").size(), 6U);

  // The work of experts goes with the experts that are used alone.
  const auto settings =
      compute::measure_dial(*run.task, *run.model, {.actives = {0.25, 4}, .batches = 8});
  for (const compute::DialRow& row : compute::try_dial(*run.task, *run.model, settings)) {
    EXPECT_NEAR(row.experts_per_token, row.active, 0.2);
    EXPECT_DOUBLE_EQ(row.multiply_adds,
                     models::multiply_adds_with(*run.model, row.experts_per_token / 1));
  }
}

TEST(UnlikeChoices, OfARunWithoutExperts) {
  const test::TemporaryDirectory folder;
  training::Trainer(
      training::recipe_in(folder / "run", {"model.block_routing={kind=\"mor\",recursions=2}",
                                           "model.mlp={kind=\"dense\"}"}))
      .run();
  EXPECT_EQ(training::logged(folder / "run", "eval", "depths_per_token").size(), 3U);
  EXPECT_THROW(training::logged(folder / "run", "eval", "experts_per_token"), Error);
}

}  // namespace
}  // namespace gallop::sparse
