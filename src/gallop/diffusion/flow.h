#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace gallop::diffusion {

/// The path x_t = alpha(t) data + sigma(t) noise between noise (t = 0) and data (t = 1), the time
/// direction of SiT (arXiv 2401.08740), at one t.
struct PathPoint {
  double alpha, sigma, d_alpha, d_sigma;
  /// alpha' / alpha; infinite at t = 0 where alpha is 0.
  double alpha_ratio;
  /// (alpha'/alpha) sigma^2 - sigma sigma': velocity = alpha_ratio x + drift_variance score.
  double drift_variance;
};

/// linear: alpha = t, sigma = 1 - t. gvp: alpha = sin(pi t/2), sigma = cos(pi t/2). vp: the
/// variance-preserving process of Song et al. (arXiv 2011.13456) with beta from 0.1 to 20.
enum class FlowPath { linear, gvp, vp };
enum class FlowPrediction { velocity, noise, score };
/// Weights of the noise and score losses; none: 1, velocity: (drift_variance/sigma)^2, which makes
/// it the velocity loss, likelihood: drift_variance/sigma^2.
enum class FlowWeight { none, velocity, likelihood };

/// Names as in recipes, all in lower case. Throw Error for another name.
FlowPath parse_flow_path(const std::string& name);
FlowPrediction parse_flow_prediction(const std::string& name);
FlowWeight parse_flow_weight(const std::string& name);

/// `t` in [0, 1].
PathPoint path_point(FlowPath path, double t);

/// First and last time that training, an ODE sampler or an SDE sampler visits.
struct TimeInterval {
  double first, last;
};

/// The intervals keep clear of the times at which a formula is singular (SiT
/// transport/transport.py): 1e-3 from the ends where noise or score are predicted, 1e-5 (training)
/// or 1e-3 (sampling) from the data end of the vp path. The stochastic part of an SDE sampler ends
/// `last_step` before t = 1.
TimeInterval training_interval(FlowPath path, FlowPrediction prediction);
TimeInterval ode_interval(FlowPath path, FlowPrediction prediction);
TimeInterval sde_interval(FlowPath path, FlowPrediction prediction, double last_step);

/// Flow matching with stochastic interpolants (SiT; Lipman et al., arXiv 2210.02747). t_B holds
/// times in [0, 1], 0 = noise, 1 = data; coefficients are computed in double. Stateless;
/// differentiable.
class Flow {
 public:
  Flow(FlowPath path, FlowPrediction prediction) : path_(path), prediction_(prediction) {}

  FlowPath path() const { return path_; }
  FlowPrediction prediction() const { return prediction_; }

  at::Tensor interpolate(const at::Tensor& data_BCHW, const at::Tensor& noise_BCHW,
                         const at::Tensor& t_B) const;
  /// alpha' data + sigma' noise.
  at::Tensor velocity_target(const at::Tensor& data_BCHW, const at::Tensor& noise_BCHW,
                             const at::Tensor& t_B) const;
  /// What the network should put out: velocity, noise, or score = -noise / sigma.
  at::Tensor target(const at::Tensor& data_BCHW, const at::Tensor& noise_BCHW,
                    const at::Tensor& t_B) const;

  /// Conversions at x_t, each a linear combination of its arguments.
  at::Tensor score_from_velocity(const at::Tensor& velocity, const at::Tensor& x,
                                 const at::Tensor& t_B) const;
  at::Tensor noise_from_velocity(const at::Tensor& velocity, const at::Tensor& x,
                                 const at::Tensor& t_B) const;
  at::Tensor velocity_from_score(const at::Tensor& score, const at::Tensor& x,
                                 const at::Tensor& t_B) const;
  /// What the network put out as a velocity (the drift of the probability-flow ODE) or as a score.
  at::Tensor output_to_velocity(const at::Tensor& output, const at::Tensor& x,
                                const at::Tensor& t_B) const;
  at::Tensor output_to_score(const at::Tensor& output, const at::Tensor& x,
                             const at::Tensor& t_B) const;

  /// Per-sample loss [B] of an output: mean((output - velocity)^2), mean(w (output - noise)^2) or
  /// mean(w (sigma output + noise)^2), each over the elements of a sample. The weight applies to
  /// noise and score only.
  at::Tensor loss(const at::Tensor& output, const at::Tensor& data_BCHW,
                  const at::Tensor& noise_BCHW, const at::Tensor& t_B, FlowWeight weight) const;

 private:
  std::vector<PathPoint> points(const at::Tensor& t_B) const;

  FlowPath path_;
  FlowPrediction prediction_;
};

/// w(t) of the reverse SDE dx = (v + w score) dt + sqrt(2 w) dW (SiT table 2), times `scale`
/// ("norm"): "constant", "sbdm" (the drift variance), "sigma", "linear" (1 - t), "decreasing" (0.25
/// (norm cos(pi t) + 1)^2), "increasing-decreasing" (norm sin(pi t)^2). Throws Error for another
/// name and where w(t) is infinite.
double diffusion_coefficient(FlowPath path, const std::string& form, double norm, double t);
/// The names, as a recipe may choose them.
const std::vector<std::string>& diffusion_forms();

/// t = sigmoid(z) for a standard normal z (Esser et al., arXiv 2403.03206).
double logit_normal_time(double standard_normal);
/// The standard normal quantile: z with P(Z < z) = u. `u` is clamped to [1e-16, 1 - 1e-16].
double normal_quantile(double u);

}  // namespace gallop::diffusion
