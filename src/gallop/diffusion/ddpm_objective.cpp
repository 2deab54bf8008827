#include "gallop/diffusion/ddpm_objective.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"

namespace gallop::diffusion {
namespace {

const config::RegisterKind<Objective, DdpmObjective, DdpmSettings> registered{
    "ddpm", "discrete Gaussian diffusion, predicting noise or x_0, with learned or fixed variance",
    "Nichol & Dhariwal, arXiv 2102.09672; DiT, arXiv 2212.09748"};

/// floor(fraction(i) * steps), kept below steps.
template <class Fraction>
at::Tensor indices(int64_t count, int64_t steps, Fraction fraction) {
  at::Tensor t_B = at::empty({count}, c10::kLong);
  int64_t* t = t_B.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i)
    t[i] = std::min(static_cast<int64_t>(fraction(i) * steps), steps - 1);
  return t_B;
}

}  // namespace

void DdpmSettings::fields(config::Visitor& v) {
  v.field("steps", steps, "number of noise levels of the process trained on", config::at_least(1));
  v.field("schedule", schedule, "how the noise variance grows over the steps",
          {"linear", "cosine"});
  v.field("prediction", prediction, "what the network puts out: the noise or the clean image",
          {"eps", "x0"});
  v.field("variance", variance,
          "variance of a denoising step; learned doubles the network's output channels",
          {"learned", "fixed-large", "fixed-small"});
  v.field("loss", loss,
          "mse: squared error plus, for a learned variance, the variational bound; kl: the bound "
          "alone; rescaled-mse, rescaled-kl: the bound times steps/1000, times steps",
          {"mse", "rescaled-mse", "kl", "rescaled-kl"});
}

DdpmObjective::DdpmObjective(const DdpmSettings& settings)
    : diffusion_(DdpmSchedule(settings.schedule, settings.steps),
                 parse_ddpm_prediction(settings.prediction),
                 parse_ddpm_variance(settings.variance)),
      loss_(parse_ddpm_loss(settings.loss)) {}

int64_t DdpmObjective::output_channels(int64_t channels) const {
  return diffusion_.learns_variance() ? 2 * channels : channels;
}

at::Tensor DdpmObjective::draw_time(int64_t count,
                                    const std::function<double(int64_t)>& uniform) const {
  return indices(count, diffusion_.schedule().steps(), uniform);
}

at::Tensor DdpmObjective::spread_time(int64_t count) const {
  return indices(count, diffusion_.schedule().steps(),
                 [&](int64_t i) { return (static_cast<double>(i) + 0.5) / count; });
}

Noised DdpmObjective::corrupt(const at::Tensor& clean, const at::Tensor& t_B,
                              const at::Tensor& noise) const {
  return {.clean_BCHW = clean,
          .noise_BCHW = noise,
          .t_B = t_B,
          .x_BCHW = diffusion_.q_sample(clean, t_B, noise),
          .model_time_B = diffusion_.model_time(t_B),
          .target_BCHW = diffusion_.prediction() == DdpmPrediction::eps ? noise : clean};
}

Losses DdpmObjective::loss(const at::Tensor& output, const Noised& n) const {
  const DdpmLosses losses =
      diffusion_.losses(loss_, output, n.clean_BCHW, n.x_BCHW, n.t_B, n.target_BCHW);
  Losses result{.main_B = losses.loss_B, .parts = {}};
  if (losses.mse_B.defined()) result.parts.emplace_back("mse", losses.mse_B);
  if (losses.vb_B.defined()) result.parts.emplace_back("vb", losses.vb_B);
  return result;
}

double DdpmObjective::noise_level(double model_time) const {
  return (model_time + 1) / static_cast<double>(diffusion_.schedule().steps());
}

}  // namespace gallop::diffusion
