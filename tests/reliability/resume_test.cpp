#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <sstream>

#include "gallop/training/trainer.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;

// A parameter is overrides, with a semicolon between two.
class ExactResume : public ::testing::TestWithParam<std::string> {};

// Stopped and started again after every one of 20 steps, some in the middle of a log interval, an
// epoch or an evaluation interval, a run goes on as if nothing had happened: the log and the
// weights are those of an uninterrupted run, to the bit. An epoch has 4 steps of 2 micro-batches.
TEST_P(ExactResume, EqualsTheUninterruptedRun) {
  std::vector<std::string> overrides = {"train.accumulate=2", "train.steps=21", "log.every=3"};
  std::istringstream keys(GetParam());
  for (std::string key; std::getline(keys, key, ';');) overrides.push_back(key);
  const TemporaryDirectory folder;
  Trainer whole(recipe_in(folder / "whole", overrides));
  whole.run();
  for (int64_t stop = 1; stop <= 20; ++stop) {
    Trainer part(recipe_in(folder / "parts", overrides));
    ASSERT_EQ(part.state().step, stop - 1);
    EXPECT_EQ(part.run(stop), Ended::stopped);
    EXPECT_EQ(part.state().step, stop);
  }
  Trainer last(recipe_in(folder / "parts", overrides));
  EXPECT_EQ(last.run(), Ended::finished);
  EXPECT_EQ(log_lines(folder / "parts"), log_lines(folder / "whole"));
  expect_equal_weights(last.model(), whole.model());
  expect_equal_weights(last.average(), whole.average());
}

// A moe layer without the losses that only some routers know.
std::string moe(const std::string& parts) {
  return "model.mlp={kind=\"moe\",setting=\"2-in-4\"," + parts + "}";
}

INSTANTIATE_TEST_SUITE_P(
    Families, ExactResume,
    ::testing::Values(
        "model.mlp.selection=race", "model.mlp.selection=bl", "model.mlp.selection=be",
        "model.mlp.selection=le", "model.mlp.selection=token", "model.mlp.selection=expert",
        "model.mlp={kind=\"dense\"}", "model.mlp={kind=\"soft_moe\"}",
        "model.heads=4;model.attention={kind=\"moh\",shared=1,active=1}",
        "task.objective={kind=\"ddpm\"}", "data.source.classes=0",
        // Parts that keep something from step to step, or draw random numbers in training.
        moe("selection={kind=\"grouped\",groups=2,bias_rate=0.1},gate=\"sigmoid\""),
        moe("selection=\"diffmoe\",router=\"linear\",losses={capacity={weight=1}}"),
        moe("selection={kind=\"growing\",steps=10}"),
        moe("selection={kind=\"dense_to_sparse\",steps=10}"), moe("selection=\"capacity\""),
        moe("selection=\"top_p\",gate=\"softmax\""),
        moe("selection=\"token\",router=\"noisy\",losses={load={weight=0.1}}"),
        moe("selection=\"token\",router=\"timestep\""),
        moe("selection=\"token\",expert={kind=\"shared\"}"),
        "model.block_routing=mod;model.mlp={kind=\"dense\"}",
        "model.block_routing=mor;model.mlp={kind=\"dense\"}"));

std::set<std::string> equal_tensors(const runs::NamedTensors& a, const runs::NamedTensors& b) {
  std::set<std::string> names;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].second.equal(b[i].second)) names.insert(a[i].first);
  }
  return names;
}

// Every part of the state changes in training, and a new process gets all of it back. A part that
// is saved and not restored, or restored and not saved, fails here or in ExactResume.
TEST(State, EveryPartChangesAndComesBack) {
  const TemporaryDirectory folder;
  const std::vector<std::string> overrides = {"data.source.poisoned=[3]", "train.steps=60",
                                              "sample.every=4",           "sample.per_class=1",
                                              "sample.steps=2",           "log.every=5"};
  // Until just after a step with the poisoned sample, late in a log interval.
  runs::Snapshot early, late;
  {
    Trainer trainer(recipe_in(folder / "run", overrides));
    trainer.run(1);
    early = runs::CheckpointStore::load(folder / "run/checkpoints/step-00000001");
    int64_t step = 9;
    do {
      trainer.run(++step);
      late = trainer.snapshot();
    } while (trainer.state().skipped_in_row == 0 ||
             late.state.at("activities").at("log").at("summed_steps").as_int() < 2);
  }
  const Trainer again(recipe_in(folder / "run", overrides));
  EXPECT_EQ(again.snapshot().state.dump(2), late.state.dump(2));
  EXPECT_TRUE(equal(again.snapshot(), late));

  const std::set<std::string> frozen = {"pos_embed"};
  EXPECT_EQ(equal_tensors(early.model, late.model), frozen);
  EXPECT_EQ(equal_tensors(early.ema, late.ema), frozen);
  EXPECT_EQ(equal_tensors(early.optimizer, late.optimizer), std::set<std::string>{});
  std::set<std::string> unchanged;
  const auto compare = [&](const std::string& path, const Json& before, const Json& after) {
    for (const auto& [key, value] : after.as_object()) {
      if (before.at(key).dump() == value.dump()) unchanged.insert(path + key);
    }
  };
  compare("", early.state, late.state);
  for (const auto& [name, state] : late.state.at("activities").as_object()) {
    compare(name + ".", early.state.at("activities").at(name), state);
  }
  // One is set at the end of a run (Trainer.EndsWithExactThresholds...), the other counts spikes
  // (Trainer.SkipsSpikesByTheStatisticsOfACheckpoint), the third samples that cannot be read
  // (UnreadableSamples.*), and the last tells where it was trained.
  EXPECT_EQ(unchanged, (std::set<std::string>{"environment", "exact_thresholds", "replaced",
                                              "skipped_spikes"}));
}

}  // namespace
}  // namespace gallop::training
