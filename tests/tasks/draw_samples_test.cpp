#include "gallop/tasks/draw_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/registry.h"
#include "gallop/tasks/keyed_noise.h"
#include "tests/support/errors.h"
#include "tests/tasks/recording_model.h"
#include "tests/tasks/tiny_race.h"

namespace gallop::tasks {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::RecordingModel;

std::shared_ptr<const diffusion::Process> process(const std::string& kind = "flow") {
  return config::make<diffusion::Process>(config::Component("objective", kind), {});
}

RecordingModel elementwise() {
  return RecordingModel({.channels = 2, .height = 4, .width = 4, .classes = 3}, 0.1, 0.3);
}

SampleRequest request_of(const std::string& sampler, std::vector<int64_t> labels) {
  return {.sampler = config::Component("sampler", sampler),
          .steps = 4,
          .labels = std::move(labels),
          .seed = 11};
}

TEST(KeyedNoise, ARowDependsOnItsSampleOnly) {
  const NoiseKey key{.seed = 3, .purpose = "test"};
  const at::Tensor five = keyed_noise(key, 0, 5, {2, 3}), two = keyed_noise(key, 3, 2, {2, 3});
  EXPECT_TRUE(five.narrow(0, 3, 2).equal(two));
  EXPECT_FALSE(five[0].equal(five[1]));
  EXPECT_FALSE(keyed_noise(key.with_step(1), 0, 5, {2, 3}).equal(five));
  EXPECT_THAT(keyed_noise(key, 0, 0, {2, 3}).sizes().vec(), ElementsAre(0, 2, 3));
}

// With a network that works element by element nothing is left but the noise and the sampler.
class SampleIndependence : public ::testing::TestWithParam<const char*> {};

TEST_P(SampleIndependence, NoiseIsTheSameToTheBit) {
  const RecordingModel model = elementwise();
  const auto flow = process();
  SampleRequest request = request_of(GetParam(), {0, 1, 2, 3, 0, 1, 2});
  const at::Tensor all = draw_samples(model, flow, request);
  EXPECT_THAT(all.sizes().vec(), ElementsAre(7, 2, 4, 4));
  for (const int64_t batch : {1, 2, 7}) {
    request.batch = batch;
    EXPECT_TRUE(draw_samples(model, flow, request).equal(all)) << "batch " << batch;
  }
  request.labels = {3, 0};
  request.first = 3;
  EXPECT_TRUE(draw_samples(model, flow, request).equal(all.narrow(0, 3, 2)));
  request.seed = 12;
  EXPECT_FALSE(draw_samples(model, flow, request).equal(all.narrow(0, 3, 2)));
}

INSTANTIATE_TEST_SUITE_P(Samplers, SampleIndependence, ::testing::Values("heun", "euler-maruyama"));

TEST(DrawSamples, ImagesOfARaceDitDoNotDependOnTheBatchOrTheCount) {
  const auto model = models::make_denoiser(testing::tiny_race(),
                                           {.channels = 1, .height = 8, .width = 8, .classes = 3});
  testing::randomize(*model);
  SampleRequest request = request_of("heun", {});
  for (int64_t i = 0; i < 24; ++i) request.labels.push_back(i % 4);
  request.guidance.scale = 2;
  const auto levels = [&] {
    return draw_samples(*model, process(), request).clamp(-1, 1).add(1).mul(127.5).round();
  };
  const at::Tensor all = levels();
  EXPECT_GT(all.std().item<double>(), 10) << "a picture with something on it";
  const auto expect_alike = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
    EXPECT_GE(a.sub(b).abs().le(2).to(at::kDouble).mean().item<double>(), 0.99) << what;
  };
  request.batch = 1;
  expect_alike(levels(), all, "batch 1");
  request.batch = 7;
  expect_alike(levels(), all, "batch 7");
  request.first = 5;
  request.labels = {1, 2};
  expect_alike(levels(), all.narrow(0, 5, 2), "a part");
}

TEST(DrawSamples, TheNetworkRunsAtInferenceWithoutGradients) {
  const RecordingModel model = elementwise();
  SampleRequest request = request_of("euler", {2, 1});
  draw_samples(model, process(), request);
  ASSERT_EQ(model.calls.size(), 4u);
  for (const auto& call : model.calls) {
    EXPECT_FALSE(call.training);
    EXPECT_FALSE(call.gradients);
    EXPECT_EQ(call.label_B[0].item<int64_t>(), 2);
    EXPECT_EQ(call.label_B[1].item<int64_t>(), 1);
  }
}

TEST(DrawSamples, GuidanceAddsTheNullLabel) {
  const RecordingModel model = elementwise();
  SampleRequest request = request_of("euler", {2});
  request.guidance.scale = 3;
  draw_samples(model, process(), request);
  EXPECT_EQ(model.calls[0].label_B.size(0), 2);
  EXPECT_EQ(model.calls[0].label_B[1].item<int64_t>(), 3);
}

TEST(DrawSamples, AnUnconditionalModelIgnoresLabelsAndGuidance) {
  const RecordingModel model({.channels = 1, .height = 4, .width = 4}, 0.1, 0.3);
  SampleRequest request = request_of("euler", {0, 0, 0});
  const at::Tensor plain = draw_samples(model, process(), request);
  request.guidance.scale = 3;
  request.labels = {7, 8, 9};
  EXPECT_TRUE(draw_samples(model, process(), request).equal(plain));
  EXPECT_FALSE(model.calls[0].label_B.defined());
}

TEST(DrawSamples, ReportsProgressAndCanBeStopped) {
  const RecordingModel model = elementwise();
  SampleRequest request = request_of("heun", {0, 1, 2, 0, 1});
  request.batch = 2;
  std::vector<int64_t> done;
  request.progress = [&](int64_t step, int64_t total) {
    EXPECT_EQ(total, 12) << "three batches of four steps";
    done.push_back(step);
    require(step < 6, "stopped at ", step);
  };
  EXPECT_EQ(message_of([&] { draw_samples(model, process(), request); }), "stopped at 6");
  EXPECT_THAT(done, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(DrawSamples, OfNothingIsAnEmptyBatch) {
  EXPECT_THAT(draw_samples(elementwise(), process(), request_of("heun", {})).sizes().vec(),
              ElementsAre(0, 2, 4, 4));
}

TEST(DrawSamples, RefusesWhatTheModelCannotDraw) {
  const RecordingModel model = elementwise();
  const auto text = [&](const SampleRequest& request, const models::Denoiser& of) {
    return message_of([&] { draw_samples(of, process(), request); });
  };
  EXPECT_THAT(text(request_of("heun", {0, 4}), model),
              HasSubstr("label 4 is out of range: the model knows 0 to 2, and 3 for no class"));
  EXPECT_THAT(text(request_of("heun", {-1}), model), HasSubstr("label -1"));
  EXPECT_THAT(text(request_of("ddim", {0}), model), HasSubstr("does not work on the objective"));
  EXPECT_THAT(text(request_of("heum", {0}), model), HasSubstr("heun"));

  SampleRequest request = request_of("heun", {0});
  request.batch = 0;
  EXPECT_THAT(text(request, model), HasSubstr("0 at once"));
  request.batch = 1;
  request.steps = 0;
  EXPECT_THAT(text(request, model), HasSubstr("at least one step"));

  const RecordingModel no_null({.channels = 2, .height = 4, .width = 4, .classes = 3}, 0);
  EXPECT_THAT(text(request_of("heun", {3}), no_null), HasSubstr("knows 0 to 2"));
  request = request_of("heun", {0});
  request.guidance.scale = 2;
  EXPECT_THAT(text(request, no_null), HasSubstr("needs a null label"));
}

}  // namespace
}  // namespace gallop::tasks
