#include "gallop/diffusion/gaussian_diffusion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "gallop/base/error.h"
#include "gallop/diffusion/per_sample.h"

namespace gallop::diffusion {
namespace {

/// KL between normal distributions given by means and log variances, element by element.
at::Tensor normal_kl(const at::Tensor& mean1, const at::Tensor& log_variance1,
                     const at::Tensor& mean2, const at::Tensor& log_variance2) {
  return 0.5 * (log_variance2 - log_variance1 - 1.0 + (log_variance1 - log_variance2).exp() +
                (mean1 - mean2).square() * (-log_variance2).exp());
}

/// The tanh approximation of the normal distribution function.
at::Tensor approximate_normal_cdf(const at::Tensor& x) {
  return 0.5 * (1.0 + (std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x.pow(3))).tanh());
}

/// Log likelihood of x, meant to be 8-bit levels scaled to [-1, 1], under a normal distribution
/// integrated over the bin of each level; the outermost bins reach to infinity.
at::Tensor discretized_log_likelihood(const at::Tensor& x, const at::Tensor& mean,
                                      const at::Tensor& log_scale) {
  constexpr double half_bin = 1.0 / 255, least = 1e-12;
  const at::Tensor centred = x - mean, inverse_scale = (-log_scale).exp();
  const at::Tensor upper = approximate_normal_cdf(inverse_scale * (centred + half_bin));
  const at::Tensor lower = approximate_normal_cdf(inverse_scale * (centred - half_bin));
  return at::where(x < -0.999, upper.clamp_min(least).log(),
                   at::where(x > 0.999, (1.0 - lower).clamp_min(least).log(),
                             (upper - lower).clamp_min(least).log()));
}

}  // namespace

DdpmPrediction parse_ddpm_prediction(const std::string& name) {
  if (name == "eps") return DdpmPrediction::eps;
  if (name == "x0") return DdpmPrediction::x0;
  fail("unknown prediction '", name, "' of a ddpm objective; there are eps and x0");
}

DdpmVariance parse_ddpm_variance(const std::string& name) {
  if (name == "learned") return DdpmVariance::learned_range;
  if (name == "fixed-large") return DdpmVariance::fixed_large;
  if (name == "fixed-small") return DdpmVariance::fixed_small;
  fail("unknown variance '", name,
       "' of a ddpm objective; there are learned, fixed-large and fixed-small");
}

DdpmLoss parse_ddpm_loss(const std::string& name) {
  if (name == "mse") return DdpmLoss::mse;
  if (name == "rescaled-mse") return DdpmLoss::rescaled_mse;
  if (name == "kl") return DdpmLoss::kl;
  if (name == "rescaled-kl") return DdpmLoss::rescaled_kl;
  fail("unknown loss '", name,
       "' of a ddpm objective; there are mse, rescaled-mse, kl and rescaled-kl");
}

GaussianDiffusion::GaussianDiffusion(DdpmSchedule schedule, DdpmPrediction prediction,
                                     DdpmVariance variance)
    : schedule_(std::move(schedule)), prediction_(prediction), variance_(variance) {
  for (double beta : schedule_.betas) log_betas_.push_back(std::log(beta));
  large_variance_ = schedule_.betas;
  if (schedule_.steps() > 1) large_variance_[0] = schedule_.posterior_variance[1];
  for (double v : large_variance_) large_log_variance_.push_back(std::log(v));
}

GaussianDiffusion GaussianDiffusion::respaced(const std::string& spacing) const {
  return GaussianDiffusion(schedule_.respaced(spacing), prediction_, variance_);
}

at::Tensor GaussianDiffusion::at_step(const std::vector<double>& table, const at::Tensor& t_B,
                                      const at::Tensor& like_BCHW) const {
  std::vector<double> values;
  for (int64_t index : step_indices(t_B, schedule_.steps())) values.push_back(table[index]);
  return per_sample(values, like_BCHW);
}

void GaussianDiffusion::check_channels(const at::Tensor& output, const at::Tensor& x_BCHW) const {
  const int64_t want = x_BCHW.size(1) * (learns_variance() ? 2 : 1);
  require(output.dim() == x_BCHW.dim() && output.size(1) == want, "the network put out ",
          output.dim() > 1 ? output.size(1) : 0, " channels for images of ", x_BCHW.size(1), "; a ",
          learns_variance() ? "learned" : "fixed", " variance needs ", want);
}

at::Tensor GaussianDiffusion::model_time(const at::Tensor& t_B) const {
  const std::vector<int64_t> indices = step_indices(t_B, schedule_.steps());
  at::Tensor result = at::empty({static_cast<int64_t>(indices.size())}, c10::kLong);
  std::transform(indices.begin(), indices.end(), result.mutable_data_ptr<int64_t>(),
                 [&](int64_t i) { return schedule_.timestep_map[i]; });
  return result.to(t_B.device());
}

at::Tensor GaussianDiffusion::q_sample(const at::Tensor& x0, const at::Tensor& t_B,
                                       const at::Tensor& noise) const {
  return at_step(schedule_.sqrt_alphas_cumprod, t_B, x0) * x0 +
         at_step(schedule_.sqrt_one_minus_alphas_cumprod, t_B, x0) * noise;
}

Posterior GaussianDiffusion::q_mean_variance(const at::Tensor& x0, const at::Tensor& t_B) const {
  std::vector<double> variance;
  for (double bar : schedule_.alphas_cumprod) variance.push_back(1 - bar);
  return {at_step(schedule_.sqrt_alphas_cumprod, t_B, x0) * x0, at_step(variance, t_B, x0),
          at_step(schedule_.log_one_minus_alphas_cumprod, t_B, x0)};
}

Posterior GaussianDiffusion::q_posterior(const at::Tensor& x0, const at::Tensor& x,
                                         const at::Tensor& t_B) const {
  return {at_step(schedule_.posterior_mean_coef1, t_B, x) * x0 +
              at_step(schedule_.posterior_mean_coef2, t_B, x) * x,
          at_step(schedule_.posterior_variance, t_B, x),
          at_step(schedule_.posterior_log_variance_clipped, t_B, x)};
}

at::Tensor GaussianDiffusion::x0_from_eps(const at::Tensor& x, const at::Tensor& t_B,
                                          const at::Tensor& eps) const {
  return at_step(schedule_.sqrt_recip_alphas_cumprod, t_B, x) * x -
         at_step(schedule_.sqrt_recipm1_alphas_cumprod, t_B, x) * eps;
}

at::Tensor GaussianDiffusion::eps_from_x0(const at::Tensor& x, const at::Tensor& t_B,
                                          const at::Tensor& x0) const {
  return (at_step(schedule_.sqrt_recip_alphas_cumprod, t_B, x) * x - x0) /
         at_step(schedule_.sqrt_recipm1_alphas_cumprod, t_B, x);
}

Prediction GaussianDiffusion::p_mean_variance(const at::Tensor& output, const at::Tensor& x,
                                              const at::Tensor& t_B, bool clip) const {
  check_channels(output, x);
  const int64_t channels = x.size(1);
  const at::Tensor image = output.narrow(1, 0, channels);

  Prediction p;
  switch (variance_) {
    case DdpmVariance::learned_range: {
      const at::Tensor low = at_step(schedule_.posterior_log_variance_clipped, t_B, x);
      const at::Tensor high = at_step(log_betas_, t_B, x);
      const at::Tensor fraction = (output.narrow(1, channels, channels) + 1.0) / 2.0;
      p.log_variance = fraction * high + (1.0 - fraction) * low;
      p.variance = p.log_variance.exp();
      break;
    }
    case DdpmVariance::fixed_large:
      p.variance = at_step(large_variance_, t_B, x);
      p.log_variance = at_step(large_log_variance_, t_B, x);
      break;
    case DdpmVariance::fixed_small:
      p.variance = at_step(schedule_.posterior_variance, t_B, x);
      p.log_variance = at_step(schedule_.posterior_log_variance_clipped, t_B, x);
      break;
  }
  p.x0_BCHW = prediction_ == DdpmPrediction::eps ? x0_from_eps(x, t_B, image) : image;
  if (clip) p.x0_BCHW = p.x0_BCHW.clamp(-1, 1);
  p.mean_BCHW = q_posterior(p.x0_BCHW, x, t_B).mean_BCHW;
  return p;
}

at::Tensor GaussianDiffusion::variational_bound(const at::Tensor& output, const at::Tensor& x0,
                                                const at::Tensor& x, const at::Tensor& t_B) const {
  const Posterior truth = q_posterior(x0, x, t_B);
  const Prediction p = p_mean_variance(output, x, t_B, /*clip=*/false);
  const at::Tensor kl_B =
      mean_per_sample(normal_kl(truth.mean_BCHW, truth.log_variance, p.mean_BCHW, p.log_variance));
  const at::Tensor nll_B =
      -mean_per_sample(discretized_log_likelihood(x0, p.mean_BCHW, 0.5 * p.log_variance));
  return at::where(t_B.to(x.device()) == 0, nll_B, kl_B) / std::numbers::ln2;
}

DdpmLosses GaussianDiffusion::losses(DdpmLoss kind, const at::Tensor& output, const at::Tensor& x0,
                                     const at::Tensor& x, const at::Tensor& t_B,
                                     const at::Tensor& target) const {
  check_channels(output, x);
  DdpmLosses result;
  if (kind == DdpmLoss::kl || kind == DdpmLoss::rescaled_kl) {
    result.vb_B = variational_bound(output, x0, x, t_B);
    if (kind == DdpmLoss::rescaled_kl) result.vb_B = result.vb_B * schedule_.steps();
    result.loss_B = result.vb_B;
    return result;
  }
  const int64_t channels = x.size(1);
  const at::Tensor image = output.narrow(1, 0, channels);
  result.mse_B = mean_per_sample((target - image).square());
  result.loss_B = result.mse_B;
  if (learns_variance()) {
    // The bound teaches the variance only: its noisy gradient must not reach the mean.
    const at::Tensor frozen = at::cat({image.detach(), output.narrow(1, channels, channels)}, 1);
    result.vb_B = variational_bound(frozen, x0, x, t_B);
    if (kind == DdpmLoss::rescaled_mse) result.vb_B = result.vb_B * (schedule_.steps() / 1000.0);
    result.loss_B = result.mse_B + result.vb_B;
  }
  return result;
}

}  // namespace gallop::diffusion
