#include "gallop/diffusion/flow_objective.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/diffusion/samplers/runge_kutta.h"
#include "tests/diffusion/samplers/states.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_network.h"

namespace gallop::diffusion {
namespace {

using ::testing::HasSubstr;
using testing::make_objective;
using testing::make_sampler;
using testing::message_of;
using testing::States;
using testing::TinyNetwork;

REFERENCE_TEST(FlowProcessCases, ReversedConventionIsThatOfTheReference,
               "diffusion/flow_reversed_convention") {
  const Json& config = fixture.config();
  const auto objective = make_objective<FlowSettings>("flow", [](FlowSettings& s) {
    s.reversed = true;
    s.time = "logit-normal";
  });
  const TinyNetwork network(fixture);
  const at::Tensor label_B = fixture.in("y");

  const at::Tensor z_B = fixture.in("t_normal");
  std::vector<double> times;
  for (int64_t i = 0; i < z_B.size(0); ++i)
    times.push_back(logit_normal_time(z_B[i].item<double>()));
  const at::Tensor t_B = at::tensor(times, at::kDouble);
  fixture.expect_close(t_B, "out.t");
  const Noised noised = objective->corrupt(fixture.in("data"), t_B, fixture.in("noise"));
  const at::Tensor output = network(noised.x_BCHW, noised.model_time_B, label_B);
  const Losses losses = objective->loss(output, noised);
  fixture.expect_close(losses.main_B, "out.loss_per_sample");
  fixture.expect_close(losses.main_B.mean(), "out.loss");
  // target_BCHW is what the network should put out, so it gives the same loss.
  fixture.expect_close(noised.target_BCHW.sub(output).square().mean({1, 2, 3}),
                       "out.loss_per_sample");

  const auto sampler = make_sampler<OdeSettings>(
      "euler", objective, config.at("sample_steps").as_int(), [](OdeSettings&) {});
  GuidanceSettings guidance;
  guidance.scale = config.at("cfg_scale").as_double();
  const std::pair<const char*, Network> runs[] = {
      {"out.plain.x", network.with_labels(label_B)},
      {"out.guided.x", guided(network, objective, guidance, label_B, fixture.in("y_null"))}};
  for (const auto& [name, denoiser] : runs) {
    States trajectory;
    trajectory.x.push_back(fixture.in("z"));
    sampler->sample(denoiser, fixture.in("z"), {}, trajectory.callback());
    fixture.expect_close(trajectory.states(), name);
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(FlowProcessCases, ReversedIsTheSameLossAtTheMirroredTime, "diffusion/flow_loss") {
  const at::Tensor data = fixture.in("x1"), noise = fixture.in("x0"), t_B = fixture.in("t");
  const at::Tensor output = fixture.in("model_output");
  const auto forward = make_objective<FlowSettings>("flow", [](FlowSettings&) {});
  const auto reversed =
      make_objective<FlowSettings>("flow", [](FlowSettings& s) { s.reversed = true; });
  const Noised a = forward->corrupt(data, t_B, noise);
  const Noised b = reversed->corrupt(data, t_B.to(at::kDouble).neg().add(1), noise);
  testing::expect_close(b.x_BCHW, a.x_BCHW, 0, 1e-6, "x");
  testing::expect_close(b.target_BCHW, a.target_BCHW.neg(), 0, 1e-6, "target");
  testing::expect_close(reversed->loss(output.neg(), b).main_B, forward->loss(output, a).main_B,
                        1e-5, 1e-6, "loss");
}

TEST(FlowObjective, TimesFollowTheUniformNumbers) {
  const auto uniform = [](int64_t i) { return i == 0 ? 0.0 : 0.25; };
  const auto plain = make_objective<FlowSettings>("flow", [](FlowSettings&) {});
  EXPECT_TRUE(plain->draw_time(2, uniform).equal(at::tensor({0.0F, 0.25F})));
  EXPECT_TRUE(plain->spread_time(4).equal(at::tensor({0.125F, 0.375F, 0.625F, 0.875F})));
  EXPECT_EQ(plain->noise_level(0.25), 0.75);

  const auto noise = make_objective<FlowSettings>("flow", [](FlowSettings& s) {
    s.prediction = "noise";
    s.reversed = true;
    s.time_scale = 1000;
  });
  testing::expect_close(noise->draw_time(2, uniform), at::tensor({0.001, 0.001 + 0.998 * 0.25}), 0,
                        1e-7, "clear of the ends");
  EXPECT_EQ(noise->noise_level(250), 0.25);
  const at::Tensor x = at::zeros({1, 1, 1, 1});
  const at::Tensor told = noise->corrupt(x, at::tensor({0.25}), x).model_time_B;
  EXPECT_EQ(told.item<double>(), 250);

  // The median, and the sigmoid of the quartile -0.6744897501960817 of the normal distribution.
  const auto normal =
      make_objective<FlowSettings>("flow", [](FlowSettings& s) { s.time = "logit-normal"; });
  testing::expect_close(normal->draw_time(2, [](int64_t i) { return i == 0 ? 0.5 : 0.25; }),
                        at::tensor({0.5, 0.33749224}), 0, 1e-7, "logit-normal");
}

TEST(FlowObjective, DoubleOutputIgnoresTheSecondHalf) {
  const auto objective =
      make_objective<FlowSettings>("flow", [](FlowSettings& s) { s.double_output = true; });
  EXPECT_EQ(objective->output_channels(3), 6);
  const at::Tensor x = at::zeros({1, 3, 2, 2});
  const Noised noised = objective->corrupt(x, at::tensor({0.5}), x);
  at::Tensor output = at::zeros({1, 6, 2, 2});
  output.narrow(1, 3, 3).fill_(7);
  EXPECT_EQ(objective->loss(output, noised).main_B.item<double>(), 0);
  EXPECT_THAT(message_of([&] { objective->loss(x, noised); }),
              HasSubstr("put out 3 channels for images of 3"));
}

TEST(FlowSettings, AWeightedVelocityIsRefused) {
  FlowSettings settings;
  settings.weighting = "likelihood";
  EXPECT_THAT(message_of([&] { settings.validate(); }), HasSubstr("weighting = \"likelihood\""));
}

}  // namespace
}  // namespace gallop::diffusion
