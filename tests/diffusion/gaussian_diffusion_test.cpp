#include "gallop/diffusion/gaussian_diffusion.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace gallop::diffusion {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::message_of;

GaussianDiffusion process_of(const Fixture& fixture, DdpmPrediction prediction,
                             DdpmVariance variance) {
  const Json& config = fixture.config();
  const GaussianDiffusion full(
      DdpmSchedule(config.at("schedule").as_string(), config.at("T").as_int()), prediction,
      variance);
  const Json* respacing = config.find("respacing");
  return respacing != nullptr ? full.respaced(respacing->as_string()) : full;
}

TEST(GaussianDiffusion, ForwardProcessAndPosteriorAreThoseOfTheReference) {
  const Fixture fixture("diffusion/q_sample");
  const GaussianDiffusion d = process_of(fixture, DdpmPrediction::eps, DdpmVariance::learned_range);
  const at::Tensor x0 = fixture.in("x0"), t = fixture.in("t");
  const at::Tensor x = d.q_sample(x0, t, fixture.in("noise"));
  fixture.expect_close(x, "out.x_t");
  const Posterior q = d.q_mean_variance(x0, t);
  fixture.expect_close(q.mean_BCHW, "out.q_mean");
  fixture.expect_close(q.variance.flatten(), "out.q_variance");
  fixture.expect_close(q.log_variance.flatten(), "out.q_log_variance");
  const Posterior posterior = d.q_posterior(x0, x, t);
  fixture.expect_close(posterior.mean_BCHW, "out.posterior_mean");
  fixture.expect_close(posterior.variance.flatten(), "out.posterior_variance");
  fixture.expect_close(posterior.log_variance.flatten(), "out.posterior_log_variance");
  fixture.expect_all_checked();
}

TEST(GaussianDiffusion, NoiseAndCleanImageConvertIntoEachOther) {
  const Fixture fixture("diffusion/eps_x0_conversion");
  const GaussianDiffusion d = process_of(fixture, DdpmPrediction::eps, DdpmVariance::learned_range);
  const at::Tensor x = fixture.in("x_t"), t = fixture.in("t");
  fixture.expect_close(d.x0_from_eps(x, t, fixture.in("noise")), "out.x0_from_eps");
  fixture.expect_close(d.eps_from_x0(x, t, fixture.in("x0")), "out.eps_from_x0");
  fixture.expect_all_checked();
}

TEST(GaussianDiffusion, PredictionsAreThoseOfTheReference) {
  const Fixture fixture("diffusion/p_mean_variance");
  const struct {
    const char* name;
    DdpmPrediction prediction;
    DdpmVariance variance;
  } variants[] = {{"learned", DdpmPrediction::eps, DdpmVariance::learned_range},
                  {"fixed_large", DdpmPrediction::eps, DdpmVariance::fixed_large},
                  {"fixed_small", DdpmPrediction::eps, DdpmVariance::fixed_small},
                  {"xstart_learned", DdpmPrediction::x0, DdpmVariance::learned_range}};
  const at::Tensor x = fixture.in("x_t"), t = fixture.in("t");
  for (const auto& [name, prediction, variance] : variants) {
    const GaussianDiffusion d = process_of(fixture, prediction, variance);
    const at::Tensor output = d.learns_variance() ? fixture.in("model_output")
                                                  : fixture.in("model_output").narrow(1, 0, 4);
    for (const bool clip : {true, false}) {
      const Prediction p = d.p_mean_variance(output, x, t, clip);
      const std::string prefix = std::string("out.") + name + (clip ? ".clip." : ".noclip.");
      const auto stored = [&](const at::Tensor& v) {
        return d.learns_variance() ? v : v.flatten();
      };
      fixture.expect_close(p.mean_BCHW, prefix + "mean");
      fixture.expect_close(stored(p.variance), prefix + "variance");
      fixture.expect_close(stored(p.log_variance), prefix + "log_variance");
      fixture.expect_close(p.x0_BCHW, prefix + "pred_xstart");
    }
  }
  fixture.expect_all_checked();
}

struct LossVariant {
  const char* name;
  DdpmPrediction prediction;
  DdpmVariance variance;
  DdpmLoss loss;
};

void check_losses(const Fixture& fixture, const std::vector<LossVariant>& variants) {
  const at::Tensor x0 = fixture.in("x0"), noise = fixture.in("noise"), t = fixture.in("t");
  for (const auto& [name, prediction, variance, loss] : variants) {
    const GaussianDiffusion d = process_of(fixture, prediction, variance);
    const bool eps = prediction == DdpmPrediction::eps;
    at::Tensor output = fixture.in(eps ? "model_output" : "model_output_xstart");
    if (!d.learns_variance()) output = output.narrow(1, 0, 4);
    output = output.clone().requires_grad_(true);
    const DdpmLosses got =
        d.losses(loss, output, x0, d.q_sample(x0, t, noise), t, eps ? noise : x0);
    const std::string prefix = std::string("out.") + name + ".";
    fixture.expect_close(got.loss_B, prefix + "loss");
    fixture.expect_close(got.loss_B.mean(), prefix + "loss_mean");
    const std::pair<const char*, at::Tensor> parts[] = {{"mse", got.mse_B}, {"vb", got.vb_B}};
    for (const auto& [part, value] : parts)
      if (fixture.has(prefix + part)) fixture.expect_close(value, prefix + part);
    got.loss_B.mean().backward();
    fixture.expect_close(output.grad(), std::string("grad.") + name + ".model_output");
  }
  fixture.expect_all_checked();
}

class MseLosses : public ::testing::TestWithParam<const char*> {};

TEST_P(MseLosses, AndTheirGradientsAreThoseOfTheReference) {
  check_losses(
      Fixture(GetParam()),
      {{"learned_mse", DdpmPrediction::eps, DdpmVariance::learned_range, DdpmLoss::mse},
       {"learned_rescaled_mse", DdpmPrediction::eps, DdpmVariance::learned_range,
        DdpmLoss::rescaled_mse},
       {"fixed_mse", DdpmPrediction::eps, DdpmVariance::fixed_large, DdpmLoss::mse},
       {"xstart_learned_mse", DdpmPrediction::x0, DdpmVariance::learned_range, DdpmLoss::mse}});
}

INSTANTIATE_TEST_SUITE_P(Processes, MseLosses,
                         ::testing::Values("diffusion/training_losses_mse_full",
                                           "diffusion/training_losses_mse_respaced"));

class KlLosses : public ::testing::TestWithParam<const char*> {};

TEST_P(KlLosses, AndTheirGradientsAreThoseOfTheReference) {
  check_losses(Fixture(GetParam()), {{"learned_rescaled_kl", DdpmPrediction::eps,
                                      DdpmVariance::learned_range, DdpmLoss::rescaled_kl},
                                     {"fixed_small_kl", DdpmPrediction::eps,
                                      DdpmVariance::fixed_small, DdpmLoss::rescaled_kl}});
}

INSTANTIATE_TEST_SUITE_P(Processes, KlLosses,
                         ::testing::Values("diffusion/training_losses_kl_full",
                                           "diffusion/training_losses_kl_respaced"));

TEST(GaussianDiffusion, TheKlLossIsTheRescaledOneOverTheSteps) {
  const Fixture fixture("diffusion/training_losses_kl_respaced");
  const GaussianDiffusion d = process_of(fixture, DdpmPrediction::eps, DdpmVariance::learned_range);
  const at::Tensor x0 = fixture.in("x0"), noise = fixture.in("noise"), t = fixture.in("t");
  const at::Tensor loss_B =
      d.losses(DdpmLoss::kl, fixture.in("model_output"), x0, d.q_sample(x0, t, noise), t, noise)
          .loss_B;
  ASSERT_EQ(d.schedule().steps(), 10);
  fixture.expect_close(loss_B.mul(10), "out.learned_rescaled_kl.loss");
}

TEST(GaussianDiffusion, RefusesAnOutputOfOtherChannelsAndTimesOutOfRange) {
  const GaussianDiffusion d(DdpmSchedule("linear", 100), DdpmPrediction::eps,
                            DdpmVariance::learned_range);
  const at::Tensor x = at::zeros({2, 3, 4, 4}), t = at::zeros({2}, at::kLong);
  EXPECT_THAT(message_of([&] { d.p_mean_variance(x, x, t, false); }),
              HasSubstr("put out 3 channels for images of 3; a learned variance needs 6"));
  EXPECT_THAT(message_of([&] { d.q_sample(x, t.add(100), x); }), HasSubstr("timestep 100"));
  EXPECT_THAT(message_of([&] { d.q_sample(x, t.sub(1), x); }), HasSubstr("timestep -1"));
  EXPECT_THAT(message_of([&] { d.q_sample(x, t.to(at::kFloat).add(0.5), x); }),
              HasSubstr("timestep 0.5"));
  EXPECT_THAT(message_of([&] { d.q_sample(x, t.unsqueeze(1), x); }), HasSubstr("2 dimensions"));
}

TEST(GaussianDiffusion, UnknownNamesListTheKnownOnes) {
  EXPECT_THAT(message_of([] { parse_ddpm_prediction("v"); }), HasSubstr("eps and x0"));
  EXPECT_THAT(message_of([] { parse_ddpm_variance("none"); }), HasSubstr("fixed-large"));
  EXPECT_THAT(message_of([] { parse_ddpm_loss("l1"); }), HasSubstr("rescaled-mse"));
}

}  // namespace
}  // namespace gallop::diffusion
