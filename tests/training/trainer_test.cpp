#include "gallop/training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/json.h"
#include "gallop/base/stop.h"
#include "gallop/compute/calibrate.h"
#include "gallop/config/parse.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/restore.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/tasks/evaluate.h"
#include "tests/support/errors.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using ::gallop::testing::message_of;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Trainer, LearnsAndLeavesARunDirectory) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(folder / "run", {"train.steps=40", "sample.every=20",
                                             "sample.per_class=2", "sample.steps=3"}));
  EXPECT_EQ(trainer.run(), Ended::finished);

  const auto losses = logged(folder / "run", "train", "main");
  ASSERT_EQ(losses.size(), 20U);
  EXPECT_LT(losses.back(), 0.8 * losses.front());
  const auto held_out = logged(folder / "run", "eval", "main");
  EXPECT_LT(held_out.back(), held_out.front());
  // The parts of the objective are logged apart and add up by their weights.
  for (const std::string& text : log_lines(folder / "run")) {
    const Json line = Json::parse(text);
    if (line.at("kind").as_string() != "train") continue;
    const double sum = line.at("main").as_double() +
                       1e-4 * line.at("router_similarity").as_double() +
                       1e-2 * line.at("per_layer").as_double();
    EXPECT_NEAR(line.at("loss").as_double(), sum, 1e-5 * sum);
  }
  for (const char* file :
       {"config.toml", "log.jsonl", "samples/step-00000020.png", "samples/step-00000040.png",
        "checkpoints/step-00000040/manifest.json", "checkpoints/step-00000040/ema.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(folder / "run" / file)) << file;
  }
}

TEST(Trainer, EndsWithExactThresholdsThatGiveTheWantedExpertsAToken) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(folder / "run"));
  trainer.run();
  const runs::Restored restored = runs::restore(folder / "run");
  EXPECT_EQ(restored.metadata.at("threshold"), "exact");
  EXPECT_EQ(restored.metadata.at("role"), "ema");
  expect_equal_weights(*restored.model, trainer.average());
  const runs::Restored raw = runs::restore(folder / "run", false);
  EXPECT_EQ(raw.metadata.at("threshold"), "moving average");
  expect_equal_weights(*raw.model, trainer.model());

  // On the calibration data themselves the thresholds keep k pairs a token to within one score.
  double pairs = 0, tokens = 0;
  int64_t layers = 0;
  tasks::calibration_run(
      *restored.task, *restored.model, {.batches = compute::calibration_batches},
      [&](const tasks::Outcome& batch) {
        layers = static_cast<int64_t>(batch.routing.size());
        for (const auto& record : batch.routing) {
          const at::Tensor tau = **record.selection->threshold();
          pairs += record.gate_BLE.ge(tau).sum().item<double>();
          tokens += static_cast<double>(record.gate_BLE.size(0) * record.gate_BLE.size(1));
        }
      });
  EXPECT_EQ(layers, 2);
  EXPECT_NEAR(pairs / tokens, 2.0, 1e-3);
}

// A run that is ended early, at a step that was evaluated with other thresholds, is evaluated
// again.
TEST(Trainer, EvaluatesTheExactThresholdsWhereARunIsCutShort) {
  const TemporaryDirectory folder;
  const std::vector<std::string> overrides = {"eval.every=4", "checkpoint.every=4"};
  Trainer(recipe_in(folder / "run", overrides)).run(9);
  std::filesystem::remove_all(folder / "run/checkpoints/step-00000009");
  auto shorter = overrides;
  shorter.push_back("train.steps=8");
  EXPECT_EQ(Trainer(recipe_in(folder / "run", shorter), {"train.steps"}).run(), Ended::finished);
  EXPECT_EQ(logged(folder / "run", "eval", "main").size(), 3U) << "at 4, at 8, and at the end";
}

TEST(Trainer, StopsWhenAskedAndSaves) {
  const TemporaryDirectory folder;
  const StopSignals signals;
  Trainer trainer(recipe_in(folder / "run"));
  request_stop();
  EXPECT_EQ(trainer.run(), Ended::stopped);
  EXPECT_EQ(trainer.state().step, 1);
  EXPECT_TRUE(std::filesystem::exists(folder / "run/checkpoints/step-00000001/manifest.json"));
}

TEST(Trainer, SkipsAStepWithNaNAndChangesNothing) {
  const TemporaryDirectory folder;
  // 48 samples in batches of 6: exactly one batch of the first epoch holds sample 7.
  Trainer trainer(recipe_in(folder / "run", {"data.source.poisoned=[7]", "train.steps=8"}));
  trainer.run();
  EXPECT_EQ(trainer.state().step, 8);
  EXPECT_EQ(trainer.state().applied, 7);
  EXPECT_EQ(trainer.state().skipped, 1);
  EXPECT_EQ(trainer.state().spikes.loss.size(), 7U);  // a step that was not applied is not in it
  for (const auto& [name, tensor] : models::named_tensors(trainer.model())) {
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
  }
  EXPECT_EQ(logged(folder / "run", "skipped", "skipped"), std::vector<double>{1});
  for (const double loss : logged(folder / "run", "train", "loss")) {
    EXPECT_TRUE(std::isfinite(loss));
  }
}

TEST(Trainer, StopsAfterTooManySkippedStepsAndKeepsTheLastGoodWeights) {
  const TemporaryDirectory folder;
  std::string all = "data.source.poisoned=[0";
  for (int i = 1; i < 48; ++i) all += "," + std::to_string(i);
  Trainer trainer(recipe_in(folder / "run", {all + "]", "train.max_skipped=3"}));
  const auto before = models::named_tensors(trainer.model());
  std::vector<at::Tensor> copies;
  for (const auto& [name, tensor] : before) copies.push_back(tensor.clone());
  EXPECT_THROW(trainer.run(), Error);
  EXPECT_EQ(trainer.state().skipped, 3);
  for (size_t i = 0; i < before.size(); ++i) {
    // NaN stands for a threshold that was never set.
    EXPECT_TRUE(before[i].second.nan_to_num(-7).equal(copies[i].nan_to_num(-7))) << before[i].first;
  }
}

std::string run_error(Trainer& trainer) {
  return message_of([&] { trainer.run(); });
}

// Samples of 1e30 give a loss that float32 cannot hold, though its gradient is finite.
TEST(Trainer, NamesAndDumpsAnInfiniteStep) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(folder / "run", {"data.source.loudness=1e30", "train.max_skipped=1",
                                             "train.dump_nonfinite=true"}));
  EXPECT_THAT(run_error(trainer),
              AllOf(HasSubstr("stopped at step 1"), HasSubstr("the loss is inf"),
                    HasSubstr("first non-finite: loss.")));
  EXPECT_EQ(trainer.state().skipped, 1);
  EXPECT_EQ(trainer.state().skipped_spikes, 0);
  EXPECT_EQ(trainer.state().spikes, runs::SpikeStatistics());

  const formats::SafetensorsReader dump(folder / "run/nonfinite/step-00000001.safetensors");
  ASSERT_NE(dump.find("samples"), nullptr);
  EXPECT_EQ(dump.find("samples")->shape, std::vector<int64_t>{6});
  for (const auto& [name, tensor] : models::named_tensors(trainer.model())) {
    ASSERT_NE(dump.find("weight." + name), nullptr) << name;
    EXPECT_TRUE(nn::to_tensor(*dump.find("weight." + name)).equal(tensor) ||
                !tensor.isfinite().all().item<bool>())
        << name;
  }
  EXPECT_NE(dump.find("grad.x_embedder.proj.weight"), nullptr);
  EXPECT_EQ(dump.metadata().at("step"), "1");
  EXPECT_EQ(dump.metadata().at("value.loss"), "inf");
}

TEST(Trainer, NamesTheFirstGradientThatIsNotFinite) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(
      folder / "run", {"data.source.count=6", "data.source.poisoned=[2]", "train.max_skipped=1"}));
  // The patch embedding is the first parameter that the pictures meet.
  EXPECT_THAT(run_error(trainer),
              HasSubstr("first non-finite: the gradient of x_embedder.proj.weight."));
  EXPECT_FALSE(std::filesystem::exists(folder / "run/nonfinite"));
}

TEST(Trainer, CheckedScoresNameStepAndLayer) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(
      folder / "run", {"data.source.count=6", "data.source.poisoned=[2]", "train.check=true"}));
  EXPECT_THAT(run_error(trainer),
              AllOf(HasSubstr("step 1, blocks.0.moe: "), HasSubstr("scores are NaN or infinite")));
}

TEST(Trainer, SkipsSpikesByTheStatisticsOfACheckpoint) {
  const TemporaryDirectory folder;
  constexpr auto length = static_cast<int64_t>(runs::SpikeWindow::length);
  std::vector<std::string> recipe = {"train.steps=200", "train.spike=8", "eval.every=0",
                                     "train.max_skipped=3", "model.depth=1"};
  runs::RunState calm;
  std::vector<at::Tensor> weights;
  {
    Trainer trainer(recipe_in(folder / "run", recipe));
    ASSERT_EQ(trainer.run(length), Ended::stopped);
    calm = trainer.state();
    for (const auto& [name, tensor] : models::named_tensors(trainer.model())) {
      weights.push_back(tensor.clone());
    }
  }
  EXPECT_EQ(calm.skipped, 0);  // nothing of a usual start is a spike
  EXPECT_EQ(calm.spikes.loss.size(), runs::SpikeWindow::length);

  recipe.push_back("data.source.loudness=30");
  Trainer trainer(recipe_in(folder / "run", recipe), {"data"});
  EXPECT_EQ(trainer.state().spikes, calm.spikes);
  EXPECT_THAT(run_error(trainer), AllOf(HasSubstr("3 steps in a row were not applied"),
                                        HasSubstr("standard deviations above")));
  EXPECT_EQ(trainer.state().applied, length);
  EXPECT_EQ(trainer.state().skipped_spikes, 3);
  EXPECT_EQ(runs::RunState::from_json(trainer.state().to_json()).skipped_spikes, 3);
  EXPECT_EQ(trainer.state().spikes, calm.spikes);
  const auto after = models::named_tensors(trainer.model());
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_TRUE(after[i].second.nan_to_num(-7).equal(weights[i].nan_to_num(-7))) << after[i].first;
  }
  EXPECT_EQ(logged(folder / "run", "skipped", "skipped_spikes"), (std::vector<double>{1, 2, 3}));
}

TEST(Trainer, AccumulatesTheMeanOverMicroBatches) {
  const TemporaryDirectory folder;
  const std::vector<std::string> dense = {"model.mlp={kind=\"dense\"}", "train.steps=1"};
  auto once = dense, twice = dense;
  once.insert(once.end(), {"train.batch=8", "train.accumulate=1"});
  twice.insert(twice.end(), {"train.batch=4", "train.accumulate=2"});
  Trainer a(recipe_in(folder / "a", once)), b(recipe_in(folder / "b", twice));
  a.run();
  b.run();
  const double loss = logged(folder / "a", "train", "loss").at(0);
  EXPECT_NEAR(logged(folder / "b", "train", "loss").at(0), loss, 1e-5 * loss);
  const double norm = logged(folder / "a", "train", "grad_norm").at(0);
  EXPECT_NEAR(logged(folder / "b", "train", "grad_norm").at(0), norm, 1e-4 * norm);
}

TEST(Trainer, RefusesARecipeThatChangesWhatTheStateMeans) {
  const TemporaryDirectory folder;
  Trainer(recipe_in(folder / "run")).run(2);
  const std::string config = read_file(folder / "run/config.toml");
  for (const char* change : {"model.width=32", "seed=6", "train.batch=4", "data.source.count=32"}) {
    try {
      const Trainer changed(recipe_in(folder / "run", {change}));
      ADD_FAILURE() << change << " was accepted";
    } catch (const Error& error) {
      const std::string key = std::string(change).substr(0, std::string(change).find('='));
      EXPECT_NE(std::string(error.what()).find(key + ": "), std::string::npos) << error.what();
    }
    EXPECT_EQ(read_file(folder / "run/config.toml"), config);
  }
  // What may change, and what the user allows by name.
  EXPECT_EQ(Trainer(recipe_in(folder / "run", {"optimizer.lr=1e-4"})).state().step, 2);
  EXPECT_EQ(Trainer(recipe_in(folder / "run", {"train.batch=4"}), {"train.batch"}).state().step, 2);
}

TEST(Trainer, LetsOneProcessTrainInAFolder) {
  const TemporaryDirectory folder;
  const Trainer first(recipe_in(folder / "run"));
  EXPECT_THROW(Trainer(recipe_in(folder / "run")), Error);
}

TEST(Trainer, GoesOnWhenACheckpointCannotBeWritten) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_in(folder / "run", {"checkpoint.every=3", "train.steps=7"}));
  trainer.run(1);
  test::FailingFileSystem full(test::FailingFileSystem::Fault::stay_full, 0);
  {
    const auto guard = replace_file_system(full);
    // Steps 3 and 6 cannot be saved, and neither can the state at the stop.
    EXPECT_THROW(trainer.run(6), Error);
    EXPECT_EQ(trainer.state().step, 6);
  }
  EXPECT_EQ(Trainer(recipe_in(folder / "other")).state().step, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "run/checkpoints/step-00000001/manifest.json"));
}

TEST(Trainer, RefusesWhatDoesNotFitIntoMemory) {
  const TemporaryDirectory folder;
  try {
    const Trainer trainer(recipe_in(folder / "run", {"memory_limit=1e-6"}));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("memory_limit"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

TEST(Trainer, NamesACorruptCheckpointAndGoesOnFromTheOneBefore) {
  const TemporaryDirectory folder;
  Trainer(recipe_in(folder / "run", {"checkpoint.every=2"})).run(5);
  const auto newest = folder / "run/checkpoints/step-00000005/model.safetensors";
  ASSERT_TRUE(std::filesystem::exists(newest));
  std::filesystem::resize_file(newest, std::filesystem::file_size(newest) - 3);
  EXPECT_EQ(Trainer(recipe_in(folder / "run", {"checkpoint.every=2"})).state().step, 4);
}

}  // namespace
}  // namespace gallop::training
