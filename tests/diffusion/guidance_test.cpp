#include "gallop/diffusion/guidance.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/diffusion/samplers/ddpm.h"
#include "gallop/models/dit/dit.h"
#include "gallop/models/weights.h"
#include "tests/diffusion/ddpm_case.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace gallop::diffusion {
namespace {

using ::testing::HasSubstr;
using testing::make_objective;
using testing::message_of;
using testing::States;

at::Tensor numbers(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).view({1, -1, 1, 1});
}

TEST(Guidance, ExtrapolatesFromTheUnconditionalOutput) {
  // null + 3 (cond - null), worked out by hand.
  const at::Tensor cond = numbers({1, 2, 3, 4}), null = numbers({0, 2, 4, 1});
  EXPECT_TRUE(combine_guided(cond, null, 3, 4).equal(numbers({3, 2, 1, 10})));
  EXPECT_TRUE(combine_guided(cond, null, 3, 2).equal(numbers({3, 2, 3, 4})));
  EXPECT_TRUE(combine_guided(cond, null, 0, 4).equal(null));
  EXPECT_THAT(message_of([&] { combine_guided(cond, null, 3, 5); }), HasSubstr("5 of 4 channels"));
}

class GuidedNetwork : public ::testing::Test {
 protected:
  /// Puts out the label in every channel, and counts the samples it saw.
  LabelledNetwork network() {
    return [this](const at::Tensor& x, const at::Tensor& t_B, const at::Tensor& y_B) {
      EXPECT_EQ(x.size(0), t_B.size(0));
      seen_ += x.size(0);
      return y_B.to(at::kDouble).view({-1, 1, 1, 1}).expand({-1, 8, 1, 1});
    };
  }
  /// The output for a batch of two at path time t: labels 5 and 7, null label 10.
  at::Tensor output(const GuidanceSettings& settings, double t) {
    const auto objective = make_objective<FlowSettings>("flow", [](FlowSettings&) {});
    const Network denoiser = guided(network(), objective, settings, at::tensor({5, 7}, at::kLong),
                                    at::full({2}, 10, at::kLong));
    return denoiser(at::zeros({2, 4, 1, 1}, at::kDouble), at::full({2}, t, at::kFloat));
  }
  int64_t seen_ = 0;
};

TEST_F(GuidedNetwork, RunsBothBranchesInOneBatch) {
  GuidanceSettings settings;
  settings.scale = 2;
  const at::Tensor y = output(settings, 0.5);
  EXPECT_EQ(seen_, 4);
  // 10 + 2 (5 - 10) = 0 and 10 + 2 (7 - 10) = 4 in the 4 image channels, the rest conditional.
  EXPECT_TRUE(y[0].flatten().equal(numbers({0, 0, 0, 0, 5, 5, 5, 5}).flatten()));
  EXPECT_TRUE(y[1].flatten().equal(numbers({4, 4, 4, 4, 7, 7, 7, 7}).flatten()));
  settings.channels = "first-3";
  EXPECT_TRUE(
      output(settings, 0.5)[0].flatten().equal(numbers({0, 0, 0, 5, 5, 5, 5, 5}).flatten()));
}

TEST_F(GuidedNetwork, ScaleOneAndTimesOutsideTheIntervalCostOneBranch) {
  GuidanceSettings settings;
  output(settings, 0.5);
  EXPECT_EQ(seen_, 2) << "scale 1";
  settings.scale = 4;
  settings.from = 0.2;
  settings.to = 0.6;  // noise levels: path times 0.4 to 0.8
  for (const auto& [t, calls] : {std::pair{0.1, 2}, {0.5, 4}, {0.7, 4}, {0.9, 2}}) {
    seen_ = 0;
    output(settings, t);
    EXPECT_EQ(seen_, calls) << "t = " << t;
  }
}

TEST_F(GuidedNetwork, RefusesWhatDoesNotFit) {
  GuidanceSettings settings;
  settings.from = 0.7;
  settings.to = 0.3;
  EXPECT_THAT(message_of([&] { output(settings, 0.5); }), HasSubstr("from = 0.7 to = 0.3"));
  const auto objective = make_objective<FlowSettings>("flow", [](FlowSettings&) {});
  EXPECT_THAT(message_of([&] {
                guided(network(), objective, {}, at::zeros({2}, at::kLong),
                       at::zeros({3}, at::kLong));
              }),
              HasSubstr("as many null labels"));
  const Network two =
      guided(network(), objective, {}, at::zeros({2}, at::kLong), at::zeros({2}, at::kLong));
  EXPECT_THAT(message_of([&] { two(at::zeros({3, 4, 1, 1}), at::zeros({3})); }),
              HasSubstr("3 images with 2 labels"));
}

// A tiny DiT end to end. The reference keeps [cond; null] as one batch whose halves share the
// network's input (that of the first) and draw noise of their own; the second half is thrown away.
REFERENCE_TEST(GuidedSamplingCases, OfATinyDitAreThoseOfTheReference,
               "diffusion/dit_guided_sampling") {
  fixture.expect_constant("frequency_embedding_size", 256);
  const Json& config = fixture.config();
  config::Component component("denoiser", "dit");
  auto& settings = component.as<models::DitSettings>();
  settings.patch = config.at("patch_size").as_int();
  settings.width = config.at("hidden_size").as_int();
  settings.depth = config.at("depth").as_int();
  settings.heads = config.at("num_heads").as_int();
  settings.label_dropout = config.at("class_dropout_prob").as_double();
  const int64_t side = config.at("input_size").as_int();
  const auto model =
      models::make_denoiser(component, {.channels = config.at("in_channels").as_int(),
                                        .height = side,
                                        .width = side,
                                        .classes = config.at("num_classes").as_int(),
                                        .predicts_sigma = config.at("learn_sigma").as_bool()});
  model->materialize(0, {}, false);
  models::load_weights(*model, fixture.with_prefix("weight."), fixture.name());

  const auto objective = testing::ddpm_objective_of(fixture);
  const testing::Respacing respacing(fixture);
  const auto sampler = testing::make_sampler<DdpmSamplerSettings>(
      "ddpm", objective, respacing.steps, [&](DdpmSamplerSettings& s) {
        s.spacing = respacing.spacing;
        s.clip = config.at("clip_denoised").as_bool();
      });
  const double scale = config.at("cfg_scale").as_double();
  const at::Tensor noise = fixture.in("noise"), label_B = fixture.in("y");
  const LabelledNetwork network = [&](const at::Tensor& x, const at::Tensor& t_B,
                                      const at::Tensor& y_B) {
    return model->forward(x, {.timestep_B = t_B, .label_B = y_B});
  };

  const int64_t half_size = label_B.size(0) / 2;
  const auto first_half = [&](const at::Tensor& x) { return x.narrow(0, 0, half_size); };
  const auto second_half = [&](const at::Tensor& x) { return x.narrow(0, half_size, half_size); };

  std::vector<at::Tensor> times;
  const Network both_halves = [&](const at::Tensor& x, const at::Tensor& t_B) {
    times.insert(times.begin(), t_B[0]);
    const at::Tensor half = first_half(x);
    const at::Tensor output = network(at::cat({half, half}), t_B, label_B);
    const at::Tensor null = second_half(output);
    const at::Tensor guided_half = combine_guided(first_half(output), null, scale, 3);
    return at::cat(
        {guided_half,
         at::cat({guided_half.narrow(1, 0, 3), null.narrow(1, 3, null.size(1) - 3)}, 1)});
  };
  States trajectory;
  sampler->sample(
      both_halves, noise[0], [&](int64_t k) { return noise[1 + k]; }, trajectory.callback());
  fixture.expect_close(trajectory.states(), "out.x");
  fixture.expect_close(at::stack(times), "out.timestep_map");

  // What a user calls: the samples alone.
  GuidanceSettings guidance;
  guidance.scale = scale;
  guidance.channels = "first-3";
  const at::Tensor samples = sampler->sample(
      guided(network, objective, guidance, first_half(label_B), second_half(label_B)),
      first_half(noise[0]), [&](int64_t k) { return first_half(noise[1 + k]); });
  fixture.expect_close(samples, "out.samples");
  fixture.expect_all_checked();
}

}  // namespace
}  // namespace gallop::diffusion
