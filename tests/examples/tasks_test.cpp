// Tasks of one's own, whole: trained, resumed, evaluated, inspected, calibrated, and refused what
// they cannot do, without a line changed outside of their files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "gallop/base/file.h"
#include "gallop/compute/calibrate.h"
#include "gallop/inspection/run_summary.h"
#include "gallop/models/weights.h"
#include "gallop/runs/restore.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/tasks/generator.h"
#include "gallop/training/trainer.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::examples {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using training::expect_equal_weights;
using training::log_lines;
using training::logged;
using training::Trainer;

constexpr const char* regression = R"(
format = 2
seed = 3
threads = 1
device = "cpu"
train = { steps = 60, batch = 16 }
optimizer = { kind = "adamw", lr = 2e-2 }
ema = { decay = 0.8 }
eval = { every = 20 }
sample = { every = 20 }
checkpoint = { every = 100 }
log = { every = 5, tensorboard = true }
[task]
kind = "regression"
mlp = { kind = "moe", experts = 4, active = 2, hidden = 8, selection = "race" }
)";

constexpr const char* adversarial = R"(
format = 2
seed = 3
threads = 1
device = "cpu"
train = { steps = 400, batch = 32, clip = 0.0 }
optimizer = { kind = "adamw", lr = 5e-3, beta1 = 0.5 }
ema = { decay = 0.9 }
eval = { every = 100 }
sample = { every = 100 }
checkpoint = { every = 1000 }
log = { every = 20, tensorboard = false }
[task]
kind = "adversarial"
critic_optimizer = { kind = "adamw", lr = 1e-2, beta1 = 0.5 }
)";

// A table of a million rows, of which a step uses some sixty.
constexpr const char* pairs = R"(
format = 2
seed = 3
threads = 1
device = "cpu"
train = { steps = 60, batch = 32 }
optimizer = { kind = "adamw", lr = 5e-2 }
ema = { decay = 0.8 }
eval = { every = 15 }
sample = { every = 0 }
checkpoint = { every = 1000, background_save = true }
log = { every = 5, tensorboard = false }
[task]
kind = "pairs"
)";

runs::Recipe recipe_of(const char* text, const std::filesystem::path& out,
                       const std::vector<std::string>& overrides = {}) {
  runs::Recipe recipe = runs::recipe_in(text, "example", overrides);
  recipe.name = "example";
  recipe.out = out.string();
  return recipe;
}

class ExampleTask : public ::testing::TestWithParam<std::pair<const char*, int64_t>> {
 protected:
  TemporaryDirectory folder_;
};

TEST_P(ExampleTask, GoesOnToTheBit) {
  const auto& [text, stop] = GetParam();
  const auto overrides = std::vector<std::string>{"train.steps=" + std::to_string(2 * stop)};
  Trainer whole(recipe_of(text, folder_ / "whole", overrides));
  whole.run();
  Trainer(recipe_of(text, folder_ / "parts", overrides)).run(stop + 3);
  Trainer parts(recipe_of(text, folder_ / "parts", overrides));
  EXPECT_EQ(parts.state().step, stop + 3);
  parts.run();
  expect_equal_weights(parts.model(), whole.model());
  expect_equal_weights(parts.average(), whole.average());
  EXPECT_EQ(log_lines(folder_ / "parts"), log_lines(folder_ / "whole"));
}

TEST_P(ExampleTask, RefusesOtherDataOnResume) {
  const auto& [text, stop] = GetParam();
  Trainer(recipe_of(text, folder_ / "run")).run(4);
  const std::string key =
      std::string(text).find("regression") != std::string::npos ? "data.noise" : "deviation";
  EXPECT_THAT(
      message_of([&] { Trainer(recipe_of(text, folder_ / "run", {"task." + key + "=0.75"})); }),
      AllOf(HasSubstr("task." + key), HasSubstr("--allow task." + key), HasSubstr("0.75")));
}

INSTANTIATE_TEST_SUITE_P(Tasks, ExampleTask,
                         ::testing::Values(std::pair(regression, 20), std::pair(adversarial, 30)),
                         [](const auto& info) {
                           return info.index == 0 ? std::string("regression")
                                                  : std::string("adversarial");
                         });

TEST(RegressionTask, LearnsIsMeasuredAndShown) {
  const TemporaryDirectory folder;
  Trainer(recipe_of(regression, folder / "run")).run();
  const auto errors = logged(folder / "run", "eval", "squared_error");
  ASSERT_EQ(errors.size(), 3U);
  EXPECT_LT(errors.back(), 0.3 * errors.front());
  EXPECT_GT(logged(folder / "run", "eval", "largest_error").back(), 0);
  EXPECT_EQ(logged(folder / "run", "eval", "experts_per_token").size(), 3U);
  EXPECT_THAT(read_file(folder / "run/curve/step-00000060.svg"), HasSubstr("<svg"));
  EXPECT_FALSE(std::filesystem::exists(folder / "run/samples"));

  // What stands in the files is enough to go on with it elsewhere.
  const runs::Restored restored = runs::restore(folder / "run");
  EXPECT_NEAR(tasks::evaluate(*restored.task, *restored.model).values.at("squared_error"),
              errors.back(), 1e-12);
  const auto checked = inspection::check_checkpoints(folder / "run");
  ASSERT_FALSE(checked.empty());
  EXPECT_EQ(checked[0].damage, "");
  runs::Recipe recipe = restored.recipe;
  std::string shown;
  for (const auto& [section, line] : inspection::main_settings(recipe)) shown += section + line;
  EXPECT_THAT(shown, AllOf(HasSubstr("regression"), HasSubstr("task.mlp")));
}

TEST(RegressionTask, IsCalibrated) {
  const TemporaryDirectory folder;
  Trainer(recipe_of(regression, folder / "run")).run();
  const runs::Restored restored = runs::restore(folder / "run");
  EXPECT_EQ(restored.metadata.at("threshold"), "exact");
  const auto layers = compute::calibrate(*restored.task, *restored.model, 8);
  ASSERT_EQ(layers.size(), 1U);
  EXPECT_EQ(layers[0].layer, "moe");
  EXPECT_NEAR(tasks::evaluate(*restored.task, *restored.model).values.at("experts_per_token"), 2,
              0.5);
}

// No label, no time: a part that needs one is told when the network is built.
TEST(RegressionTask, RefusesPartsThatNeedWhatItDoesNotGive) {
  const TemporaryDirectory folder;
  EXPECT_THAT(
      message_of(
          [&] { Trainer(recipe_of(regression, folder / "run", {"task.mlp.router=timestep"})); }),
      AllOf(HasSubstr("the router 'timestep'"), HasSubstr("the network of the task 'regression'")));
}

TEST(RegressionTask, IsRefusedWhatItCannotDo) {
  const TemporaryDirectory folder;
  Trainer(recipe_of(regression, folder / "run")).run(5);
  const runs::Restored restored = runs::restore(folder / "run");
  EXPECT_THAT(
      message_of([&] { tasks::require_generator(*restored.task, restored.recipe.task.kind()); }),
      HasSubstr("the task 'regression' generates nothing"));
}

TEST(PairsTask, TrainsATableOfAMillionRowsAndGoesOnToTheBit) {
  const TemporaryDirectory folder;
  Trainer whole(recipe_of(pairs, folder / "whole"));
  const at::Tensor before = (**whole.model().find_parameter("items.weight")).detach().clone();
  whole.run();
  const at::Tensor after = **whole.model().find_parameter("items.weight");
  const int64_t moved = after.ne(before).any(1).sum().item<int64_t>();
  EXPECT_GT(moved, 30);
  EXPECT_LE(moved, 40) << "rows that no step looked up stay";
  const auto losses = logged(folder / "whole", "eval", "main");
  EXPECT_LT(losses.back(), 0.7 * losses.front());

  // Stopped between two evaluations, where the save settles the average of the rows.
  Trainer(recipe_of(pairs, folder / "parts")).run(22);
  Trainer parts(recipe_of(pairs, folder / "parts"));
  EXPECT_EQ(parts.state().step, 22);
  parts.run();
  expect_equal_weights(parts.model(), whole.model());
  expect_equal_weights(parts.average(), whole.average());
  EXPECT_EQ(log_lines(folder / "parts"), log_lines(folder / "whole"));

  const runs::Restored restored = runs::restore(folder / "whole");
  EXPECT_NEAR(tasks::evaluate(*restored.task, *restored.model).values.at("main"), losses.back(),
              1e-12);
  const auto checked = inspection::check_checkpoints(folder / "whole");
  ASSERT_FALSE(checked.empty());
  EXPECT_EQ(checked[0].damage + checked[0].not_finite, "");
}

TEST(AdversarialTask, TakesTurnsWithTwoOptimizers) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_of(adversarial, folder / "run"));
  const auto value = [&](const char* name) {
    return (**trainer.model().find_parameter(name)).clone();
  };
  const at::Tensor maker = value("maker.in.weight"), critic = value("critic.in.weight");
  trainer.run(1);
  EXPECT_FALSE(value("maker.in.weight").equal(maker));
  EXPECT_FALSE(value("critic.in.weight").equal(critic));
  for (const char* name : {"critic_told_apart", "maker_fooled", "critic_lr", "maker_lr",
                           "critic_grad_norm", "maker_grad_norm"}) {
    Trainer again(recipe_of(adversarial, folder / "other", {"log.every=1", "train.steps=1"}));
    again.run();
    EXPECT_EQ(logged(folder / "other", "train", name).size(), 1U) << name;
    std::filesystem::remove_all(folder / "other");
  }
  // The first step of AdamW moves every weight by its learning rate.
  EXPECT_NEAR(value("critic.in.weight").sub(critic).abs().max().item<double>(), 1e-2, 1e-4);
  EXPECT_NEAR(value("maker.in.weight").sub(maker).abs().max().item<double>(), 5e-3, 1e-4);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : trainer.snapshot().optimizer) names.push_back(name);
  EXPECT_THAT(names,
              ::testing::IsSupersetOf({"exp_avg.maker.in.weight", "exp_avg_sq.critic.out.bias"}));
}

TEST(AdversarialTask, APassMayPause) {
  const TemporaryDirectory folder;
  Trainer trainer(recipe_of(adversarial, folder / "run", {"task.critic_every=2"}));
  trainer.run(1);
  const at::Tensor critic = (**trainer.model().find_parameter("critic.in.weight")).clone();
  trainer.run(2);
  EXPECT_TRUE((**trainer.model().find_parameter("critic.in.weight")).equal(critic));
  trainer.run(3);
  EXPECT_FALSE((**trainer.model().find_parameter("critic.in.weight")).equal(critic));
}

TEST(AdversarialTask, ComesNearItsDataAndDraws) {
  const TemporaryDirectory folder;
  Trainer(recipe_of(adversarial, folder / "run")).run();
  const auto distance = logged(folder / "run", "eval", "distance");
  EXPECT_LT(*std::min_element(distance.begin(), distance.end()), 1.0) << "3 at first";
  EXPECT_THAT(read_file(folder / "run/numbers/step-00000400.csv"), HasSubstr("index,number\n0,"));
  const runs::Restored restored = runs::restore(folder / "run");
  const tasks::Generator& generator =
      tasks::require_generator(*restored.task, restored.recipe.task.kind());
  const tasks::Plan plan = generator.sheet(*restored.model);
  const auto made = tasks::generate(generator, *restored.model, plan);
  EXPECT_EQ(generator.tensors(plan, made).at(0).second.numel(), 32);
}

TEST(AdversarialTask, HasNoOneLossToJudgeSpikesBy) {
  const TemporaryDirectory folder;
  EXPECT_THAT(
      message_of([&] { Trainer(recipe_of(adversarial, folder / "run", {"train.spike=6"})); }),
      HasSubstr("have 2 passes"));
}

}  // namespace
}  // namespace gallop::examples
