#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "gallop/data/loader.h"
#include "gallop/runs/resume.h"
#include "gallop/training/trainer.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;

// Every sample holds a NaN, so that each step is skipped and its warning names its samples.
std::vector<std::string> telling(int64_t batch, int64_t accumulate) {
  std::string all = "data.source.poisoned=[0";
  for (int i = 1; i < 96; ++i) all += "," + std::to_string(i);
  return {all + "]",
          "data.source.count=96",
          "train.steps=1000",
          "train.max_skipped=1000",
          "eval.every=0",
          "model.depth=1",
          "train.batch=" + std::to_string(batch),
          "train.accumulate=" + std::to_string(accumulate)};
}

/// The samples that a session takes up to a step.
std::vector<int64_t> samples_of(runs::Recipe recipe, int64_t until,
                                const std::vector<std::string>& allow = {}) {
  ::testing::internal::CaptureStderr();
  Trainer(std::move(recipe), allow).run(until);
  std::istringstream log(::testing::internal::GetCapturedStderr());
  const std::string marker = "samples of the batch:";
  std::vector<int64_t> samples;
  for (std::string line; std::getline(log, line);) {
    const size_t at = line.find(marker);
    if (at == std::string::npos) continue;
    std::istringstream numbers(line.substr(at + marker.size()));
    for (int64_t sample = 0; numbers >> sample;) samples.push_back(sample);
  }
  return samples;
}

std::vector<int64_t> in_order(int64_t from, int64_t to) {
  const data::Order order(96, 5);
  std::vector<int64_t> samples;
  for (int64_t at = from; at < to; ++at) samples.push_back(order.at(at));
  return samples;
}

TEST(PlaceInTheData, IsTheNumberOfSamplesTakenWhateverTheBatchWas) {
  const TemporaryDirectory folder;
  const auto go_on = [&](int64_t batch, int64_t accumulate, int64_t until) {
    return samples_of(recipe_in(folder / "run", telling(batch, accumulate)), until,
                      {"train.batch", "train.accumulate"});
  };
  EXPECT_EQ(go_on(8, 1, 4), in_order(0, 32));
  EXPECT_EQ(go_on(4, 1, 8), in_order(32, 48)) << "from 8 to 4";
  EXPECT_EQ(go_on(8, 1, 10), in_order(48, 64)) << "from 4 to 8";
  EXPECT_EQ(go_on(8, 2, 12), in_order(64, 96)) << "two micro-batches instead of one";
  EXPECT_EQ(go_on(4, 1, 13), in_order(96, 100)) << "one instead of two, in the second epoch";
  EXPECT_EQ(Trainer(recipe_in(folder / "run", telling(4, 1))).state().samples, 100);
}

// Checkpoints from before samples were counted.
TEST(PlaceInTheData, OfAnOldCheckpointIsStepTimesTheBatchItWasSavedWith) {
  const TemporaryDirectory folder;
  Trainer(recipe_in(folder / "run", telling(4, 2))).run(3);
  const auto checkpoint = folder / "run/checkpoints/step-00000003";
  runs::Snapshot saved = runs::CheckpointStore::load(checkpoint);
  EXPECT_EQ(runs::state_of(checkpoint, saved).samples, 24);
  Json old = Json::object();
  for (const auto& [key, value] : saved.state.as_object()) {
    if (key != "samples" && key != "replaced" && key != "environment") old[key] = value;
  }
  saved.state = old;
  const runs::RunState state = runs::state_of(checkpoint, saved);
  EXPECT_EQ(state.samples, 24);
  EXPECT_EQ(state.replaced, 0);
  EXPECT_TRUE(state.environment.empty());
}

TEST(PlaceInTheData, CannotBeBelowZero) {
  Json state = runs::RunState{}.to_json();
  state["samples"] = -1;
  EXPECT_THAT(message_of([&] { runs::RunState::from_json(state); }),
              ::testing::HasSubstr("samples"));
}

}  // namespace
}  // namespace gallop::training
