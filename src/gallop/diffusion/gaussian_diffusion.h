#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "gallop/diffusion/ddpm_schedule.h"

namespace gallop::diffusion {

/// What the image channels of the network output mean.
enum class DdpmPrediction { eps, x0 };
/// learned_range: the network has 2C output channels, the second C interpolate the log variance
/// between the posterior's and beta's (Nichol & Dhariwal, equation 15). fixed_large: beta_t.
/// fixed_small: the posterior variance.
enum class DdpmVariance { learned_range, fixed_large, fixed_small };
/// mse: squared error of the prediction, plus the variational bound if the variance is learned
/// (without gradient to the mean, "hybrid"). rescaled_mse: the same with the bound times
/// steps/1000. kl: the variational bound alone. rescaled_kl: times steps.
enum class DdpmLoss { mse, rescaled_mse, kl, rescaled_kl };

/// Names as in recipes: "eps", "x0"; "learned", "fixed-large", "fixed-small"; "mse",
/// "rescaled-mse", "kl", "rescaled-kl". Throw Error for another name.
DdpmPrediction parse_ddpm_prediction(const std::string& name);
DdpmVariance parse_ddpm_variance(const std::string& name);
DdpmLoss parse_ddpm_loss(const std::string& name);

/// q(x_{t-1} | x_t, x_0); the variances are [B, 1, 1, 1].
struct Posterior {
  at::Tensor mean_BCHW, variance, log_variance;
};

/// p(x_{t-1} | x_t) and the estimate of x_0; a learned variance is [B, C, H, W], a fixed one [B, 1,
/// 1, 1].
struct Prediction {
  at::Tensor mean_BCHW, variance, log_variance, x0_BCHW;
};

/// Each [B]; an undefined part does not exist in this loss.
struct DdpmLosses {
  at::Tensor loss_B, mse_B, vb_B;
};

/// Gaussian diffusion of images over a (possibly respaced) schedule: Ho et al., arXiv 2006.11239;
/// Nichol & Dhariwal, arXiv 2102.09672; settings and numbers as in the DiT code,
/// diffusion/gaussian_diffusion.py. t_B is the step index of THIS schedule; the network is told
/// model_time(t_B). Stateless; all operations are differentiable.
class GaussianDiffusion {
 public:
  GaussianDiffusion(DdpmSchedule schedule, DdpmPrediction prediction, DdpmVariance variance);

  const DdpmSchedule& schedule() const { return schedule_; }
  DdpmPrediction prediction() const { return prediction_; }
  DdpmVariance variance() const { return variance_; }
  bool learns_variance() const { return variance_ == DdpmVariance::learned_range; }
  /// The same process visiting only the steps of `spacing` (see space_timesteps).
  GaussianDiffusion respaced(const std::string& spacing) const;

  /// Index of each step in the process trained on, int64 [B].
  at::Tensor model_time(const at::Tensor& t_B) const;

  /// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise.
  at::Tensor q_sample(const at::Tensor& x0_BCHW, const at::Tensor& t_B,
                      const at::Tensor& noise_BCHW) const;
  /// Mean and variances of q(x_t | x_0).
  Posterior q_mean_variance(const at::Tensor& x0_BCHW, const at::Tensor& t_B) const;
  Posterior q_posterior(const at::Tensor& x0_BCHW, const at::Tensor& x_BCHW,
                        const at::Tensor& t_B) const;
  at::Tensor x0_from_eps(const at::Tensor& x_BCHW, const at::Tensor& t_B,
                         const at::Tensor& eps_BCHW) const;
  at::Tensor eps_from_x0(const at::Tensor& x_BCHW, const at::Tensor& t_B,
                         const at::Tensor& x0_BCHW) const;

  /// What the network output says of the step t -> t-1. `clip`: x_0 is clamped to [-1, 1] first, as
  /// fits images but not latents. The output has 2C channels if the variance is learned, else C.
  Prediction p_mean_variance(const at::Tensor& output, const at::Tensor& x_BCHW,
                             const at::Tensor& t_B, bool clip) const;

  /// One term of the variational bound in bits a dimension [B]: KL(q(x_{t-1}|x_t,x_0) || p), and at
  /// t = 0 the negative log likelihood of x_0 in bins of width 2/255 (applied to latents, too, as
  /// DiT does).
  at::Tensor variational_bound(const at::Tensor& output, const at::Tensor& x0_BCHW,
                               const at::Tensor& x_BCHW, const at::Tensor& t_B) const;

  /// Training losses for a given output; `target_BCHW` is what the network predicts (eps or x_0).
  DdpmLosses losses(DdpmLoss kind, const at::Tensor& output, const at::Tensor& x0_BCHW,
                    const at::Tensor& x_BCHW, const at::Tensor& t_B,
                    const at::Tensor& target_BCHW) const;

 private:
  at::Tensor at_step(const std::vector<double>& table, const at::Tensor& t_B,
                     const at::Tensor& like_BCHW) const;
  void check_channels(const at::Tensor& output, const at::Tensor& x_BCHW) const;

  DdpmSchedule schedule_;
  DdpmPrediction prediction_;
  DdpmVariance variance_;
  /// log beta, and the two tables of fixed_large, whose variance at index 0 is the posterior's of
  /// index 1.
  std::vector<double> log_betas_, large_variance_, large_log_variance_;
};

}  // namespace gallop::diffusion
