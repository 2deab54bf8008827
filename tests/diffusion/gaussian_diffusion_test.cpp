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

REFERENCE_TEST(GaussianDiffusionCases, ForwardProcessAndPosteriorAreThoseOfTheReference,
               "diffusion/q_sample") {
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

REFERENCE_TEST(GaussianDiffusionCases, NoiseAndCleanImageConvertIntoEachOther,
               "diffusion/eps_x0_conversion") {
  const GaussianDiffusion d = process_of(fixture, DdpmPrediction::eps, DdpmVariance::learned_range);
  const at::Tensor x = fixture.in("x_t"), t = fixture.in("t");
  fixture.expect_close(d.x0_from_eps(x, t, fixture.in("noise")), "out.x0_from_eps");
  fixture.expect_close(d.eps_from_x0(x, t, fixture.in("x0")), "out.eps_from_x0");
  fixture.expect_all_checked();
}

REFERENCE_TEST(GaussianDiffusionCases, PredictionsAreThoseOfTheReference,
               "diffusion/p_mean_variance") {
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
    const at::Tensor output = d.learns_variance()
                                  ? fixture.in("model_output")
                                  : fixture.in("model_output").narrow(1, 0, x.size(1));
    for (const bool clip : {true, false}) {
      const std::string prefix = std::string("out.") + name + (clip ? ".clip." : ".noclip.");
      if (!fixture.has(prefix + "mean")) continue;
      const Prediction p = d.p_mean_variance(output, x, t, clip);
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

// Every variant of the config, in the arguments of the published create_diffusion: a learned
// variance unless `learn_sigma` is false, then the large one unless `sigma_small`.
void check_losses(const Fixture& fixture) {
  const at::Tensor x0 = fixture.in("x0"), noise = fixture.in("noise"), t = fixture.in("t");
  for (const auto& [name, variant] : fixture.config().at("variants").as_object()) {
    for (const auto& [key, value] : variant.as_object()) {
      const std::set<std::string> known = {"learn_sigma", "sigma_small", "predict_xstart", "use_kl",
                                           "rescale_learned_sigmas"};
      EXPECT_TRUE(known.contains(key)) << name << " has " << key;
    }
    const auto is = [&](const char* key, bool otherwise) {
      const Json* said = variant.find(key);
      return said != nullptr ? said->as_bool() : otherwise;
    };
    const bool eps = !is("predict_xstart", false);
    const DdpmVariance variance = is("learn_sigma", true)    ? DdpmVariance::learned_range
                                  : is("sigma_small", false) ? DdpmVariance::fixed_small
                                                             : DdpmVariance::fixed_large;
    const DdpmLoss loss = is("use_kl", false)                   ? DdpmLoss::rescaled_kl
                          : is("rescale_learned_sigmas", false) ? DdpmLoss::rescaled_mse
                                                                : DdpmLoss::mse;
    const GaussianDiffusion d =
        process_of(fixture, eps ? DdpmPrediction::eps : DdpmPrediction::x0, variance);
    at::Tensor output = fixture.in(eps ? "model_output" : "model_output_xstart");
    if (!d.learns_variance()) output = output.narrow(1, 0, x0.size(1));
    output = output.clone().requires_grad_(true);
    const DdpmLosses got =
        d.losses(loss, output, x0, d.q_sample(x0, t, noise), t, eps ? noise : x0);
    const std::string prefix = "out." + name + ".";
    fixture.expect_close(got.loss_B, prefix + "loss");
    fixture.expect_close(got.loss_B.mean(), prefix + "loss_mean");
    const std::pair<const char*, at::Tensor> parts[] = {{"mse", got.mse_B}, {"vb", got.vb_B}};
    for (const auto& [part, value] : parts)
      if (fixture.has(prefix + part)) fixture.expect_close(value, prefix + part);
    got.loss_B.mean().backward();
    fixture.expect_close(output.grad(), "grad." + name + ".model_output");
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(GaussianDiffusionCases, MseLossesAndTheirGradientsAreThoseOfTheReference,
               "diffusion/training_losses_mse") {
  check_losses(fixture);
}

REFERENCE_TEST(GaussianDiffusionCases, KlLossesAndTheirGradientsAreThoseOfTheReference,
               "diffusion/training_losses_kl") {
  check_losses(fixture);
}

REFERENCE_TEST(GaussianDiffusionCases, TheKlLossIsTheRescaledOneOverTheSteps,
               "diffusion/training_losses_kl") {
  const GaussianDiffusion d = process_of(fixture, DdpmPrediction::eps, DdpmVariance::learned_range);
  const at::Tensor x0 = fixture.in("x0"), noise = fixture.in("noise"), t = fixture.in("t");
  const at::Tensor loss_B =
      d.losses(DdpmLoss::kl, fixture.in("model_output"), x0, d.q_sample(x0, t, noise), t, noise)
          .loss_B;
  fixture.expect_close(loss_B.mul(d.schedule().steps()), "out.learned_rescaled_kl.loss");
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
