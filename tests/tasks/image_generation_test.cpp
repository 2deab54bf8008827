#include "gallop/tasks/images/image_generation.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "gallop/config/registry.h"
#include "gallop/diffusion/ddpm_objective.h"
#include "gallop/models/dit/dit_config.h"
#include "gallop/sparse/layers/moe.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/tasks/images/description.h"
#include "gallop/tasks/meters/routing.h"
#include "gallop/tasks/meters/sample_losses.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/weights.h"
#include "tests/tasks/image_task.h"
#include "tests/tasks/recording_model.h"
#include "tests/tasks/synthetic_data.h"
#include "tests/tasks/tiny_race.h"

namespace gallop::tasks {
namespace {

using testing::denoiser_of;
using testing::drawn;
using testing::Driver;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ImageTask;
using testing::message_of;
using testing::randomize;
using testing::RecordingLoss;
using testing::RecordingModel;
using testing::synthetic;
using testing::synthetic_info;
using testing::SyntheticSettings;
using testing::tiny_race;

ImageTask small(int64_t batch = 6) {
  ImageTask task;
  task.args.batch = batch;
  return task;
}

/// What an evaluation measures.
struct Measured {
  std::vector<std::pair<std::string, double>> losses;
  sparse::RoutingStatistics experts;
  int64_t samples;
};
Measured measured(const Task& task, const models::Model& model) {
  SampleLosses losses;
  RoutingMeter routing(model);
  const Evaluated evaluated = measure(task, model, {&losses, &routing});
  return {losses.means(), routing.experts(), evaluated.samples};
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
  const auto task = small().make();
  Driver driver(*task);
  for (int64_t n = 0; n < 9; ++n) driver.train(through, n);  // into the second epoch
  const auto again = small().make();
  Driver from_there(*again);
  from_there.train_at(resumed, 48);
  expect_same_input(through.calls[8], resumed.calls[0]);
  EXPECT_TRUE(resumed.calls[0].training);
  EXPECT_EQ(from_there.samples.size(), 6u);

  ImageTask another = small();
  another.args.seed = 6;
  const auto of_another_seed = another.make();
  Driver(*of_another_seed).train_at(other, 48);
  EXPECT_FALSE(other.calls[0].timestep_B.equal(resumed.calls[0].timestep_B));
  EXPECT_FALSE(other.calls[0].x_BCHW.equal(resumed.calls[0].x_BCHW));
}

TEST(ImageGeneration, ASampleOfTheStreamDoesNotDependOnTheBatch) {
  const RecordingModel in_six = recording(0.5), in_twelve = recording(0.5);
  const auto six = small(6).make(), twelve = small(12).make();
  Driver by_six(*six), by_twelve(*twelve);
  for (int64_t n = 0; n < 4; ++n) by_six.train(in_six, n);
  for (int64_t n = 0; n < 2; ++n) by_twelve.train(in_twelve, n);
  expect_same_input(joined(in_six), joined(in_twelve));
}

// A run that goes on with another batch goes on where it was, with the same noise for each place.
TEST(ImageGeneration, TheBatchMayChangeAtAnyPlaceOfTheStream) {
  const RecordingModel in_six = recording(0.5), in_parts = recording(0.5);
  const auto six = small(6).make(), four = small(4).make();
  Driver by_six(*six), first(*six), then(*four);
  std::vector<int64_t> whole, parts;
  const auto train = [](Driver& driver, const RecordingModel& model, int64_t at,
                        std::vector<int64_t>& samples) {
    driver.train_at(model, at);
    samples.insert(samples.end(), driver.samples.begin(), driver.samples.end());
  };
  for (int64_t n = 0; n < 5; ++n) train(by_six, in_six, 6 * n, whole);
  for (int64_t n = 0; n < 3; ++n) train(first, in_parts, 6 * n, parts);
  for (int64_t n = 0; n < 3; ++n) train(then, in_parts, 18 + 4 * n, parts);
  EXPECT_EQ(parts, whole);
  expect_same_input(joined(in_six), joined(in_parts));
}

// Who asks for the samples in another order gets the same.
TEST(ImageGeneration, AStreamIsAddressedByNumber) {
  const auto task = small().make();
  const auto in_order = task->stream(Split::train), at_will = task->stream(Split::train);
  std::vector<Batch> batches;
  for (int64_t n = 0; n < 4; ++n) batches.push_back(in_order->at(6 * n, 6));
  for (const int64_t n : {3, 0, 2, 2}) {
    const Batch batch = at_will->at(6 * n, 6);
    EXPECT_EQ(batch.samples, batches[static_cast<size_t>(n)].samples);
    EXPECT_TRUE(batch.at("images").equal(batches[static_cast<size_t>(n)].at("images")));
    EXPECT_EQ(batch.first, 6 * n);
  }
  EXPECT_EQ(in_order->size(), 0) << "endless";
  EXPECT_EQ(task->stream(Split::held_out)->size(), 20);
  EXPECT_THAT(message_of([&] { batches[0].at("image"); }), HasSubstr("images and labels"));
}

TEST(ImageGeneration, LabelsAreDroppedAtTheModelsRate) {
  constexpr int64_t batch = 500, batches = 8;
  for (const double rate : {0.0, 0.1, 0.5}) {
    const RecordingModel model = recording(rate);
    const auto task = small(batch).make();
    Driver driver(*task);
    for (int64_t n = 0; n < batches; ++n) driver.train(model, n);
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
  const auto task = small().make();
  const Outcome output = Driver(*task).train(model, 0);

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
  ImageTask ddpm = small();
  ddpm.settings.objective = config::Component("objective", "ddpm");
  const auto task = ddpm.make();
  const auto model = denoiser_of(*task);
  EXPECT_EQ(model->output_channels(), 2);
  randomize(*model);
  const Outcome output = Driver(*task).train(*model, 0);
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
  const auto task = small().make();
  const Measured first = measured(*task, once);
  Driver(*task).train(other, 0);  // changes nothing
  const Measured second = measured(*task, twice);
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

  ImageTask sevens = small();
  sevens.settings.eval.batch = 7;
  const RecordingModel in_sevens = recording(0.9);
  const Measured cut = measured(*sevens.make(), in_sevens);
  expect_same_input(input, joined(in_sevens));
  ASSERT_EQ(cut.losses.size(), first.losses.size());
  EXPECT_NEAR(cut.losses[0].second, first.losses[0].second, 1e-6);
}

TEST(ImageGeneration, EvaluationUsesNoMoreThanThereIs) {
  ImageTask task = small();
  task.settings.eval.samples = 1000;
  const RecordingModel model = recording();
  EXPECT_EQ(measured(*task.make(), model).samples, SyntheticSettings().test_count);
  task.settings.eval.samples = 0;
  EXPECT_THAT(message_of([&] { measured(*task.make(), model); }), HasSubstr("nothing to evaluate"));
}

TEST(ImageGeneration, EvaluationOfASparseModelDoesNotDependOnTheBatch) {
  const auto task = small().make();
  const auto model = denoiser_of(*task);
  randomize(*model);
  const Measured whole = measured(*task, *model);
  EXPECT_EQ(whole.losses[0].first, "main");
  EXPECT_EQ(whole.experts.active, 2);
  EXPECT_GT(whole.experts.experts_per_token, 0);
  EXPECT_GT(whole.experts.max_violation, 0);

  ImageTask threes = small();
  threes.settings.eval.batch = 3;
  const Measured cut = measured(*threes.make(), *model);
  EXPECT_NEAR(cut.losses[0].second, whole.losses[0].second, 1e-6 * whole.losses[0].second);
  // A score that lies on the threshold but for rounding may fall to either side.
  EXPECT_NEAR(cut.experts.experts_per_token, whole.experts.experts_per_token, 0.002);
  EXPECT_NEAR(cut.experts.max_violation, whole.experts.max_violation, 0.002);
  EXPECT_NEAR(cut.experts.starved, whole.experts.starved, 0.002);
}

TEST(ImageGeneration, ADenseModelHasNoRoutingStatistics) {
  ImageTask dense = small();
  dense.settings.model.as<models::DitSettings>().mlp = config::Component("mlp", "dense");
  const auto task = dense.make();
  const auto model = denoiser_of(*task);
  randomize(*model);
  EXPECT_EQ(measured(*task, *model).experts.active, 0);
  EXPECT_EQ(evaluate(*task, *model).values.count("experts_per_token"), 0u);
}

TEST(ImageGeneration, RoutingIsThatOfFixedTrainingBatchesByTopK) {
  const auto task = small().make();
  const auto model = denoiser_of(*task);
  randomize(*model);
  const auto route = [&](const Task& of) {
    std::vector<at::Tensor> masks;
    calibration_run(of, *model, {.batches = 3}, [&](const Outcome& batch) {
      EXPECT_EQ(batch.routing.size(), 2u);
      EXPECT_EQ(batch.time_B.sizes(), at::IntArrayRef({6}));
      EXPECT_EQ(batch.of_samples_B.at(0).second.sizes(), at::IntArrayRef({6}));
      EXPECT_TRUE(batch.losses.empty());
      for (const auto& record : batch.routing) {
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
  Driver driver(*task);
  const double before = driver.train(*model, 0).losses[0].value.item<double>();
  EXPECT_TRUE(route(*task).equal(first));
  const double after = driver.train(*model, 1).losses[0].value.item<double>();

  const auto other = small().make();
  Driver alone(*other);
  EXPECT_EQ(alone.train(*model, 0).losses[0].value.item<double>(), before);
  EXPECT_EQ(alone.train(*model, 1).losses[0].value.item<double>(), after);
  EXPECT_TRUE(route(*other).equal(first));
}

// Balance at global scope counts the micro-batches of a step, and begins anew with the next.
TEST(ImageGeneration, AStepIsItsMicroBatches) {
  const auto losses = [](const char* scope, int64_t first) {
    ImageTask task = small();
    task.args.accumulate = 2;
    auto& mlp = task.settings.model.as<models::DitSettings>().mlp;
    mlp.as<sparse::MoeSettings>().losses.kinds.insert_or_assign(
        "balance", testing::component(
                       "sparse-loss",
                       std::string("kind = \"balance\"\nweight = 1\nscope = \"") + scope + "\""));
    const auto made = task.make();
    const auto model = denoiser_of(*made);
    randomize(*model);
    const auto stream = made->stream(Split::train);
    std::vector<double> values;
    StepMemory step;
    for (int64_t i = first; i < 4; ++i) {
      if (i % 2 == 0) step = {};
      const Outcome outcome =
          made->run(*model, stream->at(6 * i, 6), {}, {.micro_batches = 2, .step = &step});
      for (const NamedLoss& loss : outcome.losses) {
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
  ImageTask ignoring = small();
  ignoring.settings.model.as<models::DitSettings>().classes = 0;  // on data with labels
  SyntheticSettings unlabelled;
  unlabelled.classes = 0;
  ImageTask bare = small();
  bare.settings.data = synthetic(unlabelled);  // on data without
  for (const ImageTask& each : {ignoring, bare}) {
    const auto task = each.make();
    const auto model = denoiser_of(*task);
    EXPECT_EQ(model->args().classes, 0);
    randomize(*model);
    EXPECT_GT(Driver(*task).train(*model, 0).losses[0].value.item<double>(), 0);
    EXPECT_GT(measured(*task, *model).losses[0].second, 0);
    EXPECT_THAT(drawn(*task, *model, {0, 0}, [](auto& s) { s.steps = 2; }).sizes().vec(),
                ElementsAre(2, 1, 8, 8));
  }
}

TEST(ImageGeneration, KnownDataAreOpenedOnFirstUseOnly) {
  ImageTask known = small();
  SyntheticSettings broken;
  broken.broken = true;
  known.settings.data = synthetic(broken);
  known.args.weights = {{"data", to_json(synthetic_info()).dump()}};
  const auto task = known.make();
  const auto model = denoiser_of(*task);
  EXPECT_EQ(model->args().classes, 3);
  randomize(*model);
  EXPECT_EQ(drawn(*task, *model, {0}, [](auto& s) { s.steps = 1; }).size(0), 1);
  EXPECT_THAT(message_of([&] { task->stream(Split::train); }), HasSubstr("cannot be opened"));
}

TEST(ImageGeneration, OtherDataThanKnownAreRefused) {
  ImageTask known = small();
  data::DatasetInfo info = synthetic_info();
  info.classes = 10;
  known.args.weights = {{"data", to_json(info).dump()}};
  EXPECT_THAT(message_of([&] { known.make()->stream(Split::train); }),
              HasSubstr("the train split has 3 classes, expected are 10"));
  info = synthetic_info();
  info.width = 16;
  known.args.weights = {{"data", to_json(info).dump()}};
  EXPECT_THAT(message_of([&] { measured(*known.make(), recording()); }),
              HasSubstr("wanted are [1, 8, 16]"));
}

TEST(ImageGeneration, AModelThatDoesNotFitTheDataIsRefused) {
  const auto text = [](const std::function<void(models::DitSettings&)>& edit) {
    ImageTask task = small();
    edit(task.settings.model.as<models::DitSettings>());
    return message_of([&] { task.make()->make_model(); });
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
    ImageTask task = small();
    if (latent) task.settings.data = synthetic(latents);
    // dx/dt = 3 x makes noise of about 1 far larger.
    const RecordingModel model({.channels = 1, .height = 8, .width = 8}, 0, 3);
    const double largest =
        drawn(*task.make(), model, {0, 0}, [](auto& s) { s.steps = 4; }).abs().max().item<double>();
    if (latent) {
      EXPECT_GT(largest, 10);
    } else {
      EXPECT_EQ(largest, 1);
    }
  }
}

}  // namespace
}  // namespace gallop::tasks
