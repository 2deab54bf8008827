#include "gallop/tasks/image_generation.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "gallop/config/registry.h"
#include "gallop/diffusion/ddpm_process.h"
#include "gallop/models/dit/dit_config.h"
#include "gallop/sparse/layers/moe.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/weights.h"
#include "tests/tasks/recording_model.h"
#include "tests/tasks/synthetic_data.h"
#include "tests/tasks/tiny_race.h"

namespace gallop::tasks {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::randomize;
using testing::RecordingLoss;
using testing::RecordingModel;
using testing::synthetic;
using testing::synthetic_info;
using testing::SyntheticSettings;
using testing::tiny_race;

std::unique_ptr<Task> make_task(const Task::Args& args, const std::string& objective = "flow") {
  config::Component component("task", "image-generation");
  component.as<ImageGenerationSettings>().objective = config::Component("objective", objective);
  return config::make<Task>(component, args);
}

Task::Args small(int64_t batch = 6) {
  return {.data = synthetic(),
          .model = tiny_race(),
          .batch = batch,
          .seed = 5,
          .eval_samples = 20,
          .eval_batch = 8};
}

RecordingModel recording(double label_dropout = 0.1) {
  return RecordingModel({.channels = 1, .height = 8, .width = 8, .classes = 3}, label_dropout);
}

/// What a model was fed over all its calls, as one batch.
RecordingModel::Call joined(const RecordingModel& model) {
  std::vector<at::Tensor> x, t, y;
  for (const auto& call : model.calls) {
    x.push_back(call.x_BCHW);
    t.push_back(call.timestep_B);
    if (call.label_B.defined()) y.push_back(call.label_B);
  }
  return {.x_BCHW = at::cat(x),
          .timestep_B = at::cat(t),
          .label_B = y.empty() ? at::Tensor() : at::cat(y)};
}

void expect_same_input(const RecordingModel::Call& a, const RecordingModel::Call& b) {
  EXPECT_TRUE(a.x_BCHW.equal(b.x_BCHW));
  EXPECT_TRUE(a.timestep_B.equal(b.timestep_B));
  EXPECT_TRUE(a.label_B.equal(b.label_B));
}

TEST(ImageGeneration, AMicroBatchIsAFunctionOfSeedAndPosition) {
  const RecordingModel through = recording(), resumed = recording(), other = recording();
  const auto task = make_task(small());
  task->start(0, 0);
  for (int64_t n = 0; n < 9; ++n) task->train(through, n);  // into the second epoch
  const auto again = make_task(small());
  again->start(8, 48);
  const TrainOutput output = again->train(resumed, 8);
  expect_same_input(through.calls[8], resumed.calls[0]);
  EXPECT_TRUE(resumed.calls[0].training);
  EXPECT_EQ(output.samples.size(), 6u);

  Task::Args args = small();
  args.seed = 6;
  const auto another = make_task(args);
  another->start(8, 48);
  another->train(other, 8);
  EXPECT_FALSE(other.calls[0].timestep_B.equal(resumed.calls[0].timestep_B));
  EXPECT_FALSE(other.calls[0].x_BCHW.equal(resumed.calls[0].x_BCHW));
}

TEST(ImageGeneration, ASampleOfTheStreamDoesNotDependOnTheBatch) {
  const RecordingModel in_six = recording(0.5), in_twelve = recording(0.5);
  const auto six = make_task(small(6)), twelve = make_task(small(12));
  six->start(0, 0);
  twelve->start(0, 0);
  for (int64_t n = 0; n < 4; ++n) six->train(in_six, n);
  for (int64_t n = 0; n < 2; ++n) twelve->train(in_twelve, n);
  expect_same_input(joined(in_six), joined(in_twelve));
}

// A run that goes on with another batch goes on where it was, with the same noise for each place.
TEST(ImageGeneration, TheBatchMayChangeAtAnyPlaceOfTheStream) {
  const RecordingModel in_six = recording(0.5), in_parts = recording(0.5);
  const auto six = make_task(small(6)), first = make_task(small(6)), then = make_task(small(4));
  six->start(0, 0);
  first->start(0, 0);
  then->start(3, 18);
  std::vector<int64_t> whole, parts;
  const auto train = [](Task& task, const RecordingModel& model, int64_t n,
                        std::vector<int64_t>& samples) {
    const TrainOutput output = task.train(model, n);
    samples.insert(samples.end(), output.samples.begin(), output.samples.end());
  };
  for (int64_t n = 0; n < 5; ++n) train(*six, in_six, n, whole);
  for (int64_t n = 0; n < 3; ++n) train(*first, in_parts, n, parts);
  for (int64_t n = 3; n < 6; ++n) train(*then, in_parts, n, parts);
  EXPECT_EQ(parts, whole);
  expect_same_input(joined(in_six), joined(in_parts));
}

TEST(ImageGeneration, MicroBatchesComeInOrder) {
  const RecordingModel model = recording();
  const auto task = make_task(small());
  EXPECT_THAT(message_of([&] { task->train(model, 0); }), HasSubstr("micro-batch 0"));
  task->start(3, 18);
  EXPECT_THAT(message_of([&] { task->train(model, 4); }),
              HasSubstr("micro-batch 4 was asked for, and the reader is at 3"));
  EXPECT_EQ(message_of([&] { task->train(model, 3); }), "no error");
}

TEST(ImageGeneration, LabelsAreDroppedAtTheModelsRate) {
  constexpr int64_t batch = 500, batches = 8;
  for (const double rate : {0.0, 0.1, 0.5}) {
    const RecordingModel model = recording(rate);
    const auto task = make_task(small(batch));
    task->start(0, 0);
    for (int64_t n = 0; n < batches; ++n) task->train(model, n);
    const at::Tensor label_B = joined(model).label_B;
    const auto dropped = label_B.eq(3).sum().item<double>();
    // Four standard deviations of a binomial distribution.
    const double count = batch * batches;
    EXPECT_NEAR(dropped, rate * count, 4 * std::sqrt(count * rate * (1 - rate))) << rate;
    EXPECT_EQ(label_B.lt(0).logical_or(label_B.gt(3)).any().item<bool>(), false);
  }
}

TEST(ImageGeneration, LossesComeApart) {
  RecordingModel model = recording();
  model.layer_losses.resize(2);
  const RecordingLoss* first = nullptr;
  for (auto& losses : model.layer_losses) {
    losses.push_back(std::make_unique<RecordingLoss>("balance", 0.5, 3.0));
    losses.push_back(std::make_unique<RecordingLoss>("head", 0.01, 7.0));
    if (first == nullptr) first = static_cast<const RecordingLoss*>(losses[0].get());
  }
  const auto task = make_task(small());
  task->start(0, 0);
  const TrainOutput output = task->train(model, 0);

  ASSERT_EQ(output.losses.size(), 3u);
  const auto& [main, balance, head] =
      std::tie(output.losses[0], output.losses[1], output.losses[2]);
  EXPECT_EQ(main.name, "main");
  EXPECT_EQ(main.weight, 1);
  EXPECT_TRUE(main.value.requires_grad());
  EXPECT_EQ(balance.name, "balance");
  EXPECT_EQ(balance.weight, 0.5);
  EXPECT_EQ(balance.value.item<double>(), 6) << "the sum over two layers";
  EXPECT_EQ(head.name, "head");
  EXPECT_EQ(head.weight, 0.01);
  EXPECT_EQ(head.value.item<double>(), 14);

  // The model puts out the label in every pixel: main = mean (label - target)^2, and the target in
  // token layout is what the losses of the layers were shown.
  ASSERT_EQ(first->targets.size(), 1u);
  const at::Tensor target_BLH = first->targets[0];
  EXPECT_THAT(target_BLH.sizes().vec(), ElementsAre(6, 8, 8));
  const at::Tensor label_B11 = model.calls[0].label_B.view({-1, 1, 1});
  testing::expect_close(main.value, target_BLH.sub(label_B11).square().mean(), 1e-6, 0, "main");
  ASSERT_EQ(output.parts.size(), 1u);
  EXPECT_EQ(output.parts[0].first, "mse");
  EXPECT_FALSE(output.parts[0].second.requires_grad());
  testing::expect_close(output.parts[0].second, main.value, 0, 0, "mse");
  EXPECT_EQ(output.routing.size(), 2u);
}

TEST(ImageGeneration, DdpmWithLearnedSigmaTrainsTheHeadOnTheImageChannels) {
  const auto task = make_task(small(), "ddpm");
  const auto model = task->make_model();
  EXPECT_EQ(model->output_channels(), 2);
  randomize(*model);
  task->start(0, 0);
  const TrainOutput output = task->train(*model, 0);
  std::vector<std::string> names, parts;
  at::Tensor total;
  for (const NamedLoss& loss : output.losses) {
    names.push_back(loss.name);
    const at::Tensor weighted = loss.value.mul(loss.weight);
    total = total.defined() ? total.add(weighted) : weighted;
  }
  for (const auto& [name, value] : output.parts) parts.push_back(name);
  EXPECT_THAT(names, ElementsAre("main", "per_layer", "router_similarity"));
  EXPECT_THAT(parts, ElementsAre("mse", "vb"));
  testing::expect_close(output.losses[0].value, output.parts[0].second.add(output.parts[1].second),
                        1e-5, 0, "mse + vb");
  total.backward();
  for (const nn::Parameter* parameter : model->parameters()) {
    if (!parameter->trainable()) continue;
    EXPECT_TRUE((*parameter)->grad().defined()) << parameter->name();
  }
}

TEST(ImageGeneration, TheHeldOutSetIsFixed) {
  const RecordingModel once = recording(0.9), twice = recording(0.9), other = recording(0.9);
  const auto task = make_task(small());
  const EvalOutput first = task->evaluate(once);
  task->start(0, 0);
  task->train(other, 0);  // changes nothing
  const EvalOutput second = task->evaluate(twice);
  expect_same_input(joined(once), joined(twice));
  EXPECT_EQ(first.losses, second.losses);

  const auto input = joined(once);
  EXPECT_EQ(first.samples, 20);
  for (int64_t i = 0; i < 20; ++i) {
    EXPECT_FLOAT_EQ(input.timestep_B[i].item<float>(), (static_cast<float>(i) + 0.5F) / 20);
    EXPECT_EQ(input.label_B[i].item<int64_t>(), i % 3) << "as given, none dropped";
  }
  for (const auto& call : once.calls) {
    EXPECT_FALSE(call.training);
    EXPECT_FALSE(call.gradients);
  }

  Task::Args args = small();
  args.eval_batch = 7;
  const RecordingModel in_sevens = recording(0.9);
  const EvalOutput cut = make_task(args)->evaluate(in_sevens);
  expect_same_input(input, joined(in_sevens));
  ASSERT_EQ(cut.losses.size(), first.losses.size());
  EXPECT_NEAR(cut.losses[0].second, first.losses[0].second, 1e-6);
}

TEST(ImageGeneration, EvaluationUsesNoMoreThanThereIs) {
  Task::Args args = small();
  args.eval_samples = 1000;
  const RecordingModel model = recording();
  EXPECT_EQ(make_task(args)->evaluate(model).samples, SyntheticSettings().test_count);
  args.eval_samples = 0;
  EXPECT_THAT(message_of([&] { make_task(args)->evaluate(model); }), HasSubstr("eval.samples"));
}

TEST(ImageGeneration, EvaluationOfASparseModelDoesNotDependOnTheBatch) {
  const auto task = make_task(small());
  const auto model = task->make_model();
  randomize(*model);
  const EvalOutput whole = task->evaluate(*model);
  EXPECT_EQ(whole.losses[0].first, "main");
  EXPECT_EQ(whole.active, 2);
  EXPECT_GT(whole.experts_per_token, 0);
  EXPECT_GT(whole.max_violation, 0);

  Task::Args args = small();
  args.eval_batch = 3;
  const EvalOutput cut = make_task(args)->evaluate(*model);
  EXPECT_NEAR(cut.losses[0].second, whole.losses[0].second, 1e-6 * whole.losses[0].second);
  // A score that lies on the threshold but for rounding may fall to either side.
  EXPECT_NEAR(cut.experts_per_token, whole.experts_per_token, 0.002);
  EXPECT_NEAR(cut.max_violation, whole.max_violation, 0.002);
  EXPECT_NEAR(cut.starved, whole.starved, 0.002);
}

TEST(ImageGeneration, ADenseModelHasNoRoutingStatistics) {
  Task::Args args = small();
  args.model.as<models::DitSettings>().mlp = config::Component("mlp", "dense");
  const auto task = make_task(args);
  const auto model = task->make_model();
  randomize(*model);
  const EvalOutput output = task->evaluate(*model);
  EXPECT_EQ(output.active, 0);
  EXPECT_EQ(output.experts_per_token, 0);
}

TEST(ImageGeneration, RoutingIsThatOfFixedTrainingBatchesByTopK) {
  const auto task = make_task(small());
  const auto model = task->make_model();
  randomize(*model);
  const auto route = [&](Task& of) {
    std::vector<at::Tensor> masks;
    of.route(*model, 3, Task::Routing::training, [&](const RoutedBatch& batch) {
      EXPECT_EQ(batch.records.size(), 2u);
      EXPECT_EQ(batch.time_B.sizes(), at::IntArrayRef({6}));
      EXPECT_EQ(batch.loss_B.sizes(), at::IntArrayRef({6}));
      for (const auto& record : batch.records) {
        // Race keeps exactly B * L * k pairs.
        EXPECT_EQ(record.kept.count(), 6 * 16 * 2);
        EXPECT_FALSE(record.gate_BLE.requires_grad());
        masks.push_back(record.kept.mask_BLE());
      }
    });
    return at::cat(masks);
  };
  const at::Tensor first = route(*task);
  EXPECT_EQ(first.size(0), 3 * 2 * 6);
  task->start(0, 0);
  const double before = task->train(*model, 0).losses[0].value.item<double>();
  EXPECT_TRUE(route(*task).equal(first));
  const double after = task->train(*model, 1).losses[0].value.item<double>();

  const auto other = make_task(small());
  other->start(0, 0);
  EXPECT_EQ(other->train(*model, 0).losses[0].value.item<double>(), before);
  EXPECT_EQ(other->train(*model, 1).losses[0].value.item<double>(), after);
  EXPECT_TRUE(route(*other).equal(first));
}

// Balance at global scope counts the micro-batches of a step, and begins anew with the next.
TEST(ImageGeneration, AStepIsItsMicroBatches) {
  const auto losses = [](const char* scope, int64_t first) {
    Task::Args args = small();
    args.accumulate = 2;
    auto& mlp = args.model.as<models::DitSettings>().mlp;
    mlp.as<sparse::MoeSettings>().losses.kinds.insert_or_assign(
        "balance", testing::component(
                       "sparse-loss",
                       std::string("kind = \"balance\"\nweight = 1\nscope = \"") + scope + "\""));
    const auto task = make_task(args);
    const auto model = task->make_model();
    randomize(*model);
    task->start(first, 6 * first);
    std::vector<double> values;
    for (int64_t i = first; i < 4; ++i) {
      for (const NamedLoss& loss : task->train(*model, i).losses) {
        if (loss.name == "balance") values.push_back(loss.value.item<double>());
      }
    }
    return values;
  };
  const auto alone = losses("batch", 0), step = losses("global", 0);
  ASSERT_EQ(step.size(), 4u);
  for (const size_t i : {0, 2}) EXPECT_EQ(step[i], alone[i]) << i;
  for (const size_t i : {1, 3}) EXPECT_NE(step[i], alone[i]) << i;
  // A run that goes on at a step is where it was.
  const auto resumed = losses("global", 2);
  EXPECT_EQ(resumed, std::vector<double>(step.begin() + 2, step.end()));
}

TEST(ImageGeneration, AnUnconditionalModelSeesNoLabels) {
  Task::Args args = small();
  args.model.as<models::DitSettings>().classes = 0;  // on data with labels
  SyntheticSettings unlabelled;
  unlabelled.classes = 0;
  Task::Args bare = small();
  bare.data = synthetic(unlabelled);  // on data without
  for (const Task::Args& each : {args, bare}) {
    const auto task = make_task(each);
    const auto model = task->make_model();
    EXPECT_EQ(model->args().classes, 0);
    randomize(*model);
    task->start(0, 0);
    EXPECT_GT(task->train(*model, 0).losses[0].value.item<double>(), 0);
    EXPECT_GT(task->evaluate(*model).losses[0].second, 0);
    EXPECT_THAT(task->sample(*model, {.steps = 2, .labels = {0, 0}}).sizes().vec(),
                ElementsAre(2, 1, 8, 8));
  }
}

TEST(ImageGeneration, KnownDataAreOpenedOnFirstUseOnly) {
  Task::Args args = small();
  SyntheticSettings broken;
  broken.broken = true;
  args.data = synthetic(broken);
  args.info = synthetic_info();
  const auto task = make_task(args);
  const auto model = task->make_model();
  EXPECT_EQ(task->data_info().classes, 3);
  randomize(*model);
  EXPECT_EQ(task->sample(*model, {.steps = 1, .labels = {0}}).size(0), 1);
  EXPECT_THAT(message_of([&] { task->start(0, 0); }), HasSubstr("cannot be opened"));
}

TEST(ImageGeneration, OtherDataThanKnownAreRefused) {
  Task::Args args = small();
  args.info = synthetic_info();
  args.info->classes = 10;
  EXPECT_THAT(message_of([&] { make_task(args)->start(0, 0); }),
              HasSubstr("the train split has 3 classes, expected are 10"));
  args.info = synthetic_info();
  args.info->width = 16;
  EXPECT_THAT(message_of([&] { make_task(args)->evaluate(recording()); }),
              HasSubstr("wanted are [1, 8, 16]"));
}

TEST(ImageGeneration, AModelThatDoesNotFitTheDataIsRefused) {
  const auto text = [](const std::function<void(models::DitSettings&)>& edit) {
    Task::Args args = small();
    edit(args.model.as<models::DitSettings>());
    return message_of([&] { make_task(args)->make_model(); });
  };
  EXPECT_THAT(text([](auto& s) { s.image = 16; }),
              HasSubstr("takes 1x16x16 and the data are 1x8x8"));
  EXPECT_THAT(text([](auto& s) { s.classes = 2; }),
              HasSubstr("knows 2 classes and the data have 3"));
  EXPECT_THAT(text([](auto& s) { s.learn_sigma = "yes"; }),
              HasSubstr("puts out 2 channels and the objective flow needs 1"));
  EXPECT_EQ(text([](auto& s) { s.classes = 5; }), "no error");
}

TEST(ImageGeneration, ImagesAreClampedAndLatentsAreNot) {
  SyntheticSettings latents;
  latents.latent = true;
  for (const bool latent : {false, true}) {
    Task::Args args = small();
    if (latent) args.data = synthetic(latents);
    const auto task = make_task(args);
    // dx/dt = 3 x makes noise of about 1 far larger.
    const RecordingModel model({.channels = 1, .height = 8, .width = 8}, 0, 3);
    const double largest =
        task->sample(model, {.steps = 4, .labels = {0, 0}}).abs().max().item<double>();
    if (latent) {
      EXPECT_GT(largest, 10);
    } else {
      EXPECT_EQ(largest, 1);
    }
  }
}

}  // namespace
}  // namespace gallop::tasks
