// A step is judged by the weights it makes: none that is not finite is kept, saved or preferred.
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gallop/base/file.h"
#include "gallop/inspection/run_summary.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/finite.h"
#include "gallop/runs/restore.h"
#include "gallop/training/trainer.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<at::Tensor> copies(const Trainer& trainer) {
  std::vector<at::Tensor> all;
  const runs::Snapshot snapshot = trainer.snapshot();
  for (const runs::NamedTensors& part : {snapshot.model, snapshot.ema, snapshot.optimizer}) {
    for (const auto& [name, tensor] : part) all.push_back(tensor.detach().clone());
  }
  return all;
}

void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  // NaN stands for a threshold that was never set.
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(a[i].nan_to_num(-7).equal(b[i].nan_to_num(-7))) << i;
  }
}

// From the first step on.
TEST(FiniteSteps, ALearningRateBeyondFloat32ChangesNothing) {
  const TemporaryDirectory folder;
  Trainer trainer(
      recipe_in(folder / "run", {"optimizer.lr=3e38", "schedule=constant", "train.max_skipped=3"}));
  const auto before = copies(trainer);
  EXPECT_THAT(message_of([&] { trainer.run(); }),
              AllOf(HasSubstr("3 steps in a row were not applied"),
                    HasSubstr("NaN or infinite (learning rate 3e+38, gradient norm ")));
  EXPECT_EQ(trainer.state().skipped, 3);
  EXPECT_EQ(trainer.state().applied, 0);
  expect_equal(copies(trainer), before);
  EXPECT_THAT(runs::CheckpointStore(folder / "run", {}).all(), IsEmpty());
}

// In a run that has gone well: every step is refused, and the good state is what is resumed. At
// 3e38 one may pass that leaves finite weights with which no loss is finite: see below.
class RaisedRate : public ::testing::TestWithParam<const char*> {};

TEST_P(RaisedRate, AGoodRunKeepsItsState) {
  const TemporaryDirectory folder;
  const std::vector<std::string> good = {"checkpoint.every=2", "train.steps=12",
                                         "checkpoint.keep_last=1"};
  std::vector<at::Tensor> state;
  {
    Trainer trainer(recipe_in(folder / "run", good));
    trainer.run(6);
    state = copies(trainer);
  }
  auto bad = good;
  bad.insert(bad.end(), {std::string("optimizer.lr=") + GetParam(), "train.max_skipped=4"});
  {
    Trainer trainer(recipe_in(folder / "run", bad));
    EXPECT_THAT(message_of([&] { trainer.run(); }), HasSubstr("4 steps in a row"));
    EXPECT_EQ(trainer.state().skipped, 4);
    for (const at::Tensor& tensor : copies(trainer))
      EXPECT_EQ(runs::non_finite_elements(tensor), 0);
  }
  for (const runs::SavedCheckpoint& saved : runs::CheckpointStore(folder / "run", {}).all()) {
    EXPECT_EQ(runs::non_finite_values(saved.path), "") << saved.path;
  }
  Trainer trainer(recipe_in(folder / "run", good));
  expect_equal(copies(trainer), state);
  EXPECT_EQ(trainer.run(), Ended::finished);
}

INSTANTIATE_TEST_SUITE_P(FiniteSteps, RaisedRate, ::testing::Values("1e40", "1e42"));

TEST(FiniteSteps, WhatPassesAtTheEdgeOfTheRangeIsFinite) {
  const TemporaryDirectory folder;
  const std::vector<std::string> good = {"checkpoint.every=2", "train.steps=12"};
  Trainer(recipe_in(folder / "run", good)).run(6);
  auto bad = good;
  bad.insert(bad.end(), {"optimizer.lr=3e38", "train.max_skipped=4"});
  Trainer trainer(recipe_in(folder / "run", bad));
  EXPECT_THAT(message_of([&] { trainer.run(); }), HasSubstr("4 steps in a row"));
  EXPECT_GE(trainer.state().skipped, 4);
  for (const at::Tensor& tensor : copies(trainer)) EXPECT_EQ(runs::non_finite_elements(tensor), 0);
  bool kept = false;  // the checkpoint of before
  for (const runs::SavedCheckpoint& saved : runs::CheckpointStore(folder / "run", {}).all()) {
    EXPECT_EQ(runs::non_finite_values(saved.path), "") << saved.path;
    kept = kept || saved.step == 6;
  }
  EXPECT_TRUE(kept);
}

TEST(FiniteSteps, AreDumpedLikeOtherStepsThatWereNot) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(
      folder / "run", {"optimizer.lr=3e38", "train.max_skipped=1", "train.dump_nonfinite=true"}));
  EXPECT_NE(message_of([&] { trainer.run(); }), "no error");
  const formats::SafetensorsReader dump(folder / "run/nonfinite/step-00000001.safetensors");
  EXPECT_THAT(dump.metadata().at("cause"), HasSubstr("it would make "));
}

TEST(FiniteSteps, WeightsToStartFromMustBeFinite) {
  const TemporaryDirectory folder;
  Trainer(recipe_in(folder / "first", {"train.steps=1"})).run();
  auto tensors = nn::load_tensors(runs::find_weights(folder / "first", false));
  tensors.at("x_embedder.proj.bias")[1] = infinity;
  const formats::SafetensorsReader first(runs::find_weights(folder / "first", false));
  nn::save_tensors(folder / "bad.safetensors", {tensors.begin(), tensors.end()}, first.metadata());
  const std::string init = "init.weights=\"" + (folder / "bad.safetensors").string() + "\"";
  EXPECT_THAT(message_of([&] { const Trainer trainer(recipe_in(folder / "second", {init})); }),
              AllOf(HasSubstr("bad.safetensors"), HasSubstr("x_embedder.proj.bias (1 of 16)")));
}

TEST(FiniteTensors, AreToldFromOthers) {
  EXPECT_EQ(runs::non_finite_elements(at::full({3, 5}, 3e38)), 0);
  EXPECT_EQ(runs::non_finite_elements(at::full({3, 5}, -infinity)), 15);
  EXPECT_EQ(runs::non_finite_elements(at::full({3, 5}, nan).t()), 15);
  EXPECT_EQ(runs::non_finite_elements(at::full({3}, nan, at::kDouble)), 3);
  EXPECT_EQ(runs::non_finite_elements(at::full({3}, infinity, at::kHalf)), 3);
  EXPECT_EQ(runs::non_finite_elements(at::full({3}, 1e308, at::kDouble)), 0);
  EXPECT_EQ(runs::non_finite_elements(at::full({2, 1 << 20}, nan, at::kBFloat16)), 2 << 20);
  EXPECT_EQ(runs::non_finite_elements(at::full({0}, nan, at::kBFloat16)), 0);
  EXPECT_EQ(runs::non_finite_elements(at::full({3}, 5, at::kLong)), 0);
  // A threshold that is not set is NaN.
  EXPECT_THAT(runs::non_finite_tensors({{"a", at::full({2}, nan)},
                                        {"router.threshold", at::full({4}, nan)},
                                        {"threshold", at::full({}, infinity)},
                                        {"b", at::full({2}, 1.0)}}),
              ElementsAre("a (2 of 2)", "threshold (1 of 1)"));
}

// Snapshots in which one part holds one bad number.
class FiniteCheckpoints : public ::testing::TestWithParam<const char*> {
 protected:
  static runs::Snapshot bad_at(int64_t step) {
    runs::Snapshot snapshot = snapshot_of(step);
    runs::NamedTensors& part = std::string(GetParam()) == "model.safetensors" ? snapshot.model
                               : std::string(GetParam()) == "ema.safetensors" ? snapshot.ema
                                                                              : snapshot.optimizer;
    part[0].second[1][2] = step % 20 == 0 ? nan : -infinity;
    return snapshot;
  }
  TemporaryDirectory run_;
};

TEST_P(FiniteCheckpoints, StayWhateverComesAfterThem) {
  runs::CheckpointStore store(run_.path(), keeping(2));
  for (const int64_t step : {10, 20, 30}) store.save(snapshot_of(step), "");
  for (const int64_t step : {40, 50, 60, 70}) store.save(bad_at(step), "");
  EXPECT_THAT(names_in(run_ / "checkpoints"),
              ElementsAre("step-00000020", "step-00000030", "step-00000060", "step-00000070"));
  EXPECT_EQ(store.newest()->step, 30);
  EXPECT_EQ(runs::find_weights(run_.path()), run_ / "checkpoints/step-00000030/ema.safetensors");
  EXPECT_THAT(runs::non_finite_values(run_ / "checkpoints/step-00000070"),
              AllOf(HasSubstr(GetParam()), HasSubstr("blocks.0.w (1 of 12)")));
  // As `gallop inspect` tells it.
  const auto checked = inspection::check_checkpoints(run_.path());
  EXPECT_THAT(checked.at(0).not_finite, HasSubstr(GetParam()));
  EXPECT_EQ(checked.at(0).damage, "");
  EXPECT_EQ(checked.at(2).not_finite, "");
  EXPECT_EQ(inspection::best_of(checked)->saved.step, 30);
  // Good ones again: the rotation goes on.
  store.save(snapshot_of(80), "");
  store.save(snapshot_of(90), "");
  EXPECT_THAT(names_in(run_ / "checkpoints"), ElementsAre("step-00000080", "step-00000090"));
}

TEST_P(FiniteCheckpoints, StayBesideAnotherOfTheSameStep) {
  runs::CheckpointStore store(run_.path(), keeping(1));
  store.save(snapshot_of(10), "");
  for (int again = 0; again < 2; ++again) {
    store.save(bad_at(10), "");
    EXPECT_THAT(names_in(run_ / "checkpoints"), ElementsAre("step-00000010", "step-00000010.old"));
    EXPECT_TRUE(equal(runs::CheckpointStore::load(store.newest()->path), snapshot_of(10)));
  }
  store.save(snapshot_of(10, 0.5), "");
  EXPECT_EQ(store.newest()->path.filename(), "step-00000010");
  EXPECT_TRUE(equal(runs::CheckpointStore::load(store.newest()->path), snapshot_of(10, 0.5)));
}

// Checkpoints from before their manifest said so are looked at.
TEST_P(FiniteCheckpoints, AreFoundWithoutANoteInTheManifest) {
  runs::CheckpointStore store(run_.path(), keeping(2));
  for (const runs::Snapshot& snapshot : {snapshot_of(10), bad_at(20)}) {
    const fs::path manifest = store.save(snapshot, "") / "manifest.json";
    const Json whole = Json::parse(read_file(manifest), "manifest");
    Json old = Json::object();
    for (const char* key : {"format", "files"}) old[key] = whole.at(key);
    put(manifest, old.dump());
  }
  EXPECT_EQ(store.newest()->step, 10);
  EXPECT_THAT(runs::non_finite_values(run_ / "checkpoints/step-00000020"), HasSubstr(GetParam()));
  store.save(bad_at(30), "");
  store.save(bad_at(40), "");
  EXPECT_EQ(store.newest()->step, 10);
}

TEST_P(FiniteCheckpoints, ArePreferredButNotDemanded) {
  runs::CheckpointStore store(run_.path(), {});
  store.save(bad_at(10), "");
  store.save(bad_at(20), "");
  EXPECT_EQ(store.newest()->step, 20);
  EXPECT_EQ(inspection::best_of(inspection::check_checkpoints(run_.path()))->saved.step, 20);
}

INSTANTIATE_TEST_SUITE_P(Parts, FiniteCheckpoints,
                         ::testing::Values("model.safetensors", "ema.safetensors",
                                           "optimizer.safetensors"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name.substr(0, name.find('.'));
                         });

TEST(CheckpointErrors, NameOtherCheckpointsOnlyWhereThereAreSome) {
  const TemporaryDirectory run;
  put(run / "checkpoints", "not a folder");
  runs::CheckpointStore store(run.path(), {});
  EXPECT_THAT(message_of([&] { store.save(snapshot_of(20), ""); }),
              HasSubstr("The run has no other checkpoint"));
}

}  // namespace
}  // namespace gallop::training
