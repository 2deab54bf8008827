#include "gallop/tasks/images/image_session.h"

#include <ATen/ops/cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/registry.h"
#include "gallop/tasks/images/keyed_noise.h"
#include "tests/support/errors.h"
#include "tests/tasks/drawing.h"
#include "tests/tasks/recording_model.h"
#include "tests/tasks/tiny_race.h"

namespace gallop::tasks {
namespace {

using ::testing::AllOf;
using testing::draw;
using testing::Drawing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::RecordingModel;

std::shared_ptr<const diffusion::Objective> objective(const std::string& kind = "flow") {
  return config::make<diffusion::Objective>(config::Component("objective", kind), {});
}

RecordingModel elementwise() {
  return RecordingModel({.channels = 2, .height = 4, .width = 4, .classes = 3}, 0.1, 0.3);
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
  const auto flow = objective();
  Drawing drawing(GetParam(), {0, 1, 2, 3, 0, 1, 2});
  const at::Tensor all = draw(model, flow, drawing);
  EXPECT_THAT(all.sizes().vec(), ElementsAre(7, 2, 4, 4));
  for (const int64_t rows : {1, 2, 7}) {
    drawing.rows = rows;
    EXPECT_TRUE(draw(model, flow, drawing).equal(all)) << rows << " at once";
  }
  drawing.labels = {3, 0};
  drawing.first = 3;
  EXPECT_TRUE(draw(model, flow, drawing).equal(all.narrow(0, 3, 2)));
  drawing.seed = 12;
  EXPECT_FALSE(draw(model, flow, drawing).equal(all.narrow(0, 3, 2)));
}

INSTANTIATE_TEST_SUITE_P(Samplers, SampleIndependence, ::testing::Values("heun", "euler-maruyama"));

// Rows of one batch with different experts switched off are what each would be alone.
TEST(ImageSession, ExpertsAreSwitchedOffForTheRowsThatAskForIt) {
  const auto model = models::make_denoiser(testing::tiny_race(),
                                           {.channels = 1, .height = 8, .width = 8, .classes = 3});
  testing::randomize(*model);
  const std::string layer = "blocks.1.moe";
  Drawing plain("euler", {0, 1}), without("euler", {0, 1}), none("euler", {0, 1});
  without.settings.off = {layer + ":0,2", layer + ":1"};
  for (int e = 0; e < 4; ++e) none.settings.off.push_back(layer + ":" + std::to_string(e));
  const at::Tensor all = draw(*model, objective(), plain),
                   some = draw(*model, objective(), without);
  EXPECT_FALSE(all.allclose(some, 1e-3, 1e-3));
  EXPECT_FALSE(all.allclose(draw(*model, objective(), none), 1e-3, 1e-3));

  ImageSession session({.model = *model, .objective = objective(), .rows = 4, .clamped = false});
  std::vector<Request> requests = plain.requests();
  for (const Request& request : without.requests()) requests.push_back(request);
  session.add(requests);
  const at::Tensor mixed = testing::take_all(session);
  EXPECT_TRUE(mixed.narrow(0, 0, 2).allclose(all, 1e-5, 1e-5));
  EXPECT_TRUE(mixed.narrow(0, 2, 2).allclose(some, 1e-5, 1e-5));

  const auto refused = [&](const std::string& word) {
    Drawing drawing("euler", {0});
    drawing.settings.off = {word};
    return message_of([&] { draw(*model, objective(), drawing); });
  };
  EXPECT_THAT(refused("blocks.1.mo:0"),
              AllOf(HasSubstr("no layer 'blocks.1.mo'"), HasSubstr("blocks.1.moe")));
  EXPECT_THAT(refused(layer + ":4"), HasSubstr("'4' is none of its 4 candidates, 0 to 3"));
  EXPECT_THAT(refused(layer + ":0,"), HasSubstr("'' is none"));
  EXPECT_THAT(refused(layer), HasSubstr("LAYER:NUMBER"));
}

TEST(ImageSession, ImagesOfARaceDitDoNotDependOnTheBatchOrTheCount) {
  const auto model = models::make_denoiser(testing::tiny_race(),
                                           {.channels = 1, .height = 8, .width = 8, .classes = 3});
  testing::randomize(*model);
  Drawing drawing("heun", {});
  for (int64_t i = 0; i < 24; ++i) drawing.labels.push_back(i % 4);
  drawing.settings.guidance = 2;
  const auto levels = [&] {
    return draw(*model, objective(), drawing).clamp(-1, 1).add(1).mul(127.5).round();
  };
  const at::Tensor all = levels();
  EXPECT_GT(all.std().item<double>(), 10) << "a picture with something on it";
  const auto expect_alike = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
    EXPECT_GE(a.sub(b).abs().le(2).to(at::kDouble).mean().item<double>(), 0.99) << what;
  };
  drawing.rows = 1;
  expect_alike(levels(), all, "batch 1");
  drawing.rows = 7;
  expect_alike(levels(), all, "batch 7");
  drawing.first = 5;
  drawing.labels = {1, 2};
  expect_alike(levels(), all.narrow(0, 5, 2), "a part");
}

TEST(ImageSession, TheNetworkRunsAtInferenceWithoutGradients) {
  const RecordingModel model = elementwise();
  draw(model, objective(), {"euler", {2, 1}});
  ASSERT_EQ(model.calls.size(), 4u);
  for (const auto& call : model.calls) {
    EXPECT_FALSE(call.training);
    EXPECT_FALSE(call.gradients);
    EXPECT_EQ(call.label_B[0].item<int64_t>(), 2);
    EXPECT_EQ(call.label_B[1].item<int64_t>(), 1);
  }
}

TEST(ImageSession, GuidanceAddsTheNullLabel) {
  const RecordingModel model = elementwise();
  Drawing drawing("euler", {2});
  drawing.settings.guidance = 3;
  draw(model, objective(), drawing);
  EXPECT_EQ(model.calls[0].label_B.size(0), 2);
  EXPECT_EQ(model.calls[0].label_B[1].item<int64_t>(), 3);
}

TEST(ImageSession, AnUnconditionalModelIgnoresLabelsAndGuidance) {
  const RecordingModel model({.channels = 1, .height = 4, .width = 4}, 0.1, 0.3);
  Drawing drawing("euler", {0, 0, 0});
  const at::Tensor plain = draw(model, objective(), drawing);
  drawing.settings.guidance = 3;
  drawing.labels = {7, 8, 9};
  EXPECT_TRUE(draw(model, objective(), drawing).equal(plain));
  EXPECT_FALSE(model.calls[0].label_B.defined());
}

// Requests with other samplers, steps, guidance and seeds share forwards, and each is what it is
// alone: to the bit, with a network that works element by element.
TEST(ImageSession, RowsOfDifferentRequestsShareAForward) {
  const RecordingModel model = elementwise();
  const auto flow = objective();
  std::vector<Drawing> all = {
      {"heun", {0, 1}, 4}, {"euler-maruyama", {2}, 6}, {"euler", {3, 1}, 3}};
  all[0].settings.guidance = 3;
  all[1].seed = 99;
  all[2].settings.guidance = 2;
  all[2].settings.guidance_from = 0.5;
  std::vector<at::Tensor> alone;
  int64_t calls = 0, most = 0;
  for (const Drawing& drawing : all) {
    model.calls.clear();
    alone.push_back(draw(model, flow, drawing));
    calls += static_cast<int64_t>(model.calls.size());
    most = std::max<int64_t>(most, static_cast<int64_t>(model.calls.size()));
  }
  model.calls.clear();
  ImageSession session({.model = model, .objective = flow, .rows = 8, .clamped = false});
  session.add(all[0].requests());
  session.advance();
  for (size_t i : {1, 2}) session.add(all[i].requests());  // join on the way
  const at::Tensor together = testing::take_all(session);
  EXPECT_TRUE(together.equal(at::cat(alone)));
  EXPECT_LE(static_cast<int64_t>(model.calls.size()), most + 1) << "of " << calls << " alone";
  EXPECT_EQ(session.work().done, session.work().total);
}

TEST(ImageSession, RoomIsGivenInTheOrderOfTheRequests) {
  const RecordingModel model = elementwise();
  ImageSession session({.model = model, .objective = objective(), .rows = 2, .clamped = false});
  session.add(Drawing("euler", {0, 1, 2}, 2).requests());
  std::vector<size_t> order;
  while (!session.done()) {
    session.advance();
    EXPECT_LE(model.calls.back().x_BCHW.size(0), 2);
    for (const Made& made : session.take()) order.push_back(made.request);
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_EQ(session.work().total, 6);
  EXPECT_THAT(message_of([&] { session.advance(); }), HasSubstr("all samples are drawn"));
}

TEST(ImageSession, RefusesWhatTheModelCannotDraw) {
  const RecordingModel model = elementwise();
  const auto text = [&](const Drawing& drawing, const models::Denoiser& of) {
    return message_of([&] { draw(of, objective(), drawing); });
  };
  EXPECT_THAT(text({"heun", {0, 4}}, model),
              HasSubstr("label 4 is out of range: the model knows 0 to 2, and 3 for no class"));
  EXPECT_THAT(text({"heun", {-1}}, model), HasSubstr("label -1"));
  EXPECT_THAT(text({"ddim", {0}}, model), HasSubstr("does not work on the objective"));
  EXPECT_THAT(text({"heum", {0}}, model), HasSubstr("heun"));

  Drawing drawing("heun", {0});
  drawing.rows = 0;
  EXPECT_THAT(text(drawing, model), HasSubstr("0 at once"));
  EXPECT_THAT(text({"heun", {0}, 0}, model), HasSubstr("at least one step"));

  const RecordingModel no_null({.channels = 2, .height = 4, .width = 4, .classes = 3}, 0);
  EXPECT_THAT(text({"heun", {3}}, no_null), HasSubstr("knows 0 to 2"));
  Drawing guided("heun", {0});
  guided.settings.guidance = 2;
  EXPECT_THAT(text(guided, no_null), HasSubstr("needs a null label"));
}

}  // namespace
}  // namespace gallop::tasks
