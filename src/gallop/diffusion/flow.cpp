#include "gallop/diffusion/flow.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "gallop/base/error.h"
#include "gallop/diffusion/per_sample.h"

namespace gallop::diffusion {
namespace {

constexpr double kPi = std::numbers::pi;

/// Completes a point of a path whose alpha'/alpha has no closed form of its own.
PathPoint complete(double alpha, double sigma, double d_alpha, double d_sigma) {
  const double ratio = d_alpha / alpha;
  return {alpha, sigma, d_alpha, d_sigma, ratio, ratio * sigma * sigma - sigma * d_sigma};
}

PathPoint vp_point(double t) {
  constexpr double beta_min = 0.1, beta_max = 20;
  const double left = 1 - t;
  const double log_alpha = -0.25 * left * left * (beta_max - beta_min) - 0.5 * left * beta_min;
  const double half_beta = 0.5 * (beta_min + left * (beta_max - beta_min));  // = d log alpha / dt
  const double alpha = std::exp(log_alpha), sigma = std::sqrt(-std::expm1(2 * log_alpha));
  // alpha^2 + sigma^2 = 1 makes sigma' = -alpha alpha' / sigma and the drift variance beta / 2.
  return {alpha,     sigma,    alpha * half_beta, -alpha * alpha * half_beta / sigma,
          half_beta, half_beta};
}

template <class Coefficient>
at::Tensor coefficients(const std::vector<PathPoint>& points, const at::Tensor& like,
                        Coefficient coefficient) {
  std::vector<double> values;
  for (const PathPoint& p : points) values.push_back(coefficient(p));
  return per_sample(values, like);
}

double weight_of(FlowWeight weight, const PathPoint& p) {
  switch (weight) {
    case FlowWeight::none:
      return 1;
    case FlowWeight::velocity:
      return p.drift_variance * p.drift_variance / (p.sigma * p.sigma);
    case FlowWeight::likelihood:
      return p.drift_variance / (p.sigma * p.sigma);
  }
  fail("unknown flow loss weight");
}

}  // namespace

FlowPath parse_flow_path(const std::string& name) {
  if (name == "linear") return FlowPath::linear;
  if (name == "gvp") return FlowPath::gvp;
  if (name == "vp") return FlowPath::vp;
  fail("unknown path '", name, "' of a flow objective; there are linear, gvp and vp");
}

FlowPrediction parse_flow_prediction(const std::string& name) {
  if (name == "velocity") return FlowPrediction::velocity;
  if (name == "noise") return FlowPrediction::noise;
  if (name == "score") return FlowPrediction::score;
  fail("unknown prediction '", name, "' of a flow objective; there are velocity, noise and score");
}

FlowWeight parse_flow_weight(const std::string& name) {
  if (name == "none") return FlowWeight::none;
  if (name == "velocity") return FlowWeight::velocity;
  if (name == "likelihood") return FlowWeight::likelihood;
  fail("unknown weighting '", name,
       "' of a flow objective; there are none, velocity and likelihood");
}

PathPoint path_point(FlowPath path, double t) {
  require(t >= 0 && t <= 1, "time ", t, " of a flow is outside [0, 1]");
  switch (path) {
    case FlowPath::linear:
      // (1/t) (1-t)^2 + (1-t) in one fraction.
      return {t, 1 - t, 1, -1, 1 / t, (1 - t) / t};
    case FlowPath::gvp: {
      const double s = std::sin(kPi / 2 * t), c = std::cos(kPi / 2 * t);
      return complete(s, c, kPi / 2 * c, -kPi / 2 * s);
    }
    case FlowPath::vp:
      return vp_point(t);
  }
  fail("unknown flow path");
}

TimeInterval training_interval(FlowPath path, FlowPrediction prediction) {
  if (path == FlowPath::vp) return {0, 1 - 1e-5};
  if (prediction == FlowPrediction::velocity) return {0, 1};
  return {1e-3, 1 - 1e-3};
}

TimeInterval ode_interval(FlowPath path, FlowPrediction prediction) {
  if (path == FlowPath::vp) return {0, 1 - 1e-3};
  return training_interval(path, prediction);
}

TimeInterval sde_interval(FlowPath path, FlowPrediction prediction, double last_step) {
  const TimeInterval ode = ode_interval(path, prediction);
  return {ode.first, last_step > 0 ? 1 - last_step : ode.last};
}

std::vector<PathPoint> Flow::points(const at::Tensor& t_B) const {
  std::vector<PathPoint> result;
  for (double t : times(t_B)) result.push_back(path_point(path_, t));
  return result;
}

at::Tensor Flow::interpolate(const at::Tensor& data, const at::Tensor& noise,
                             const at::Tensor& t_B) const {
  const auto p = points(t_B);
  return coefficients(p, data, [](const PathPoint& q) { return q.alpha; }) * data +
         coefficients(p, data, [](const PathPoint& q) { return q.sigma; }) * noise;
}

at::Tensor Flow::velocity_target(const at::Tensor& data, const at::Tensor& noise,
                                 const at::Tensor& t_B) const {
  const auto p = points(t_B);
  return coefficients(p, data, [](const PathPoint& q) { return q.d_alpha; }) * data +
         coefficients(p, data, [](const PathPoint& q) { return q.d_sigma; }) * noise;
}

at::Tensor Flow::target(const at::Tensor& data, const at::Tensor& noise,
                        const at::Tensor& t_B) const {
  switch (prediction_) {
    case FlowPrediction::velocity:
      return velocity_target(data, noise, t_B);
    case FlowPrediction::noise:
      return noise;
    case FlowPrediction::score:
      return coefficients(points(t_B), data, [](const PathPoint& q) { return -1 / q.sigma; }) *
             noise;
  }
  fail("unknown flow prediction");
}

at::Tensor Flow::score_from_velocity(const at::Tensor& velocity, const at::Tensor& x,
                                     const at::Tensor& t_B) const {
  const auto variance = [](const PathPoint& q) {
    return q.sigma * q.sigma - q.alpha / q.d_alpha * q.d_sigma * q.sigma;
  };
  const auto p = points(t_B);
  return coefficients(p, x, [&](auto& q) { return q.alpha / q.d_alpha / variance(q); }) * velocity -
         coefficients(p, x, [&](auto& q) { return 1 / variance(q); }) * x;
}

at::Tensor Flow::noise_from_velocity(const at::Tensor& velocity, const at::Tensor& x,
                                     const at::Tensor& t_B) const {
  const auto divisor = [](const PathPoint& q) { return q.alpha / q.d_alpha * q.d_sigma - q.sigma; };
  const auto p = points(t_B);
  return coefficients(p, x, [&](auto& q) { return q.alpha / q.d_alpha / divisor(q); }) * velocity -
         coefficients(p, x, [&](auto& q) { return 1 / divisor(q); }) * x;
}

at::Tensor Flow::velocity_from_score(const at::Tensor& score, const at::Tensor& x,
                                     const at::Tensor& t_B) const {
  const auto p = points(t_B);
  return coefficients(p, x, [](auto& q) { return q.drift_variance; }) * score +
         coefficients(p, x, [](auto& q) { return q.alpha_ratio; }) * x;
}

at::Tensor Flow::output_to_velocity(const at::Tensor& output, const at::Tensor& x,
                                    const at::Tensor& t_B) const {
  if (prediction_ == FlowPrediction::velocity) return output;
  return velocity_from_score(output_to_score(output, x, t_B), x, t_B);
}

at::Tensor Flow::output_to_score(const at::Tensor& output, const at::Tensor& x,
                                 const at::Tensor& t_B) const {
  switch (prediction_) {
    case FlowPrediction::velocity:
      return score_from_velocity(output, x, t_B);
    case FlowPrediction::noise:
      return coefficients(points(t_B), x, [](auto& q) { return -1 / q.sigma; }) * output;
    case FlowPrediction::score:
      return output;
  }
  fail("unknown flow prediction");
}

at::Tensor Flow::loss(const at::Tensor& output, const at::Tensor& data, const at::Tensor& noise,
                      const at::Tensor& t_B, FlowWeight weight) const {
  if (prediction_ == FlowPrediction::velocity)
    return mean_per_sample((output - velocity_target(data, noise, t_B)).square());
  const auto p = points(t_B);
  const at::Tensor w = coefficients(p, output, [&](auto& q) { return weight_of(weight, q); });
  if (prediction_ == FlowPrediction::noise) return mean_per_sample(w * (output - noise).square());
  const at::Tensor sigma = coefficients(p, output, [](auto& q) { return q.sigma; });
  return mean_per_sample(w * (sigma * output + noise).square());
}

const std::vector<std::string>& diffusion_forms() {
  static const std::vector<std::string> names = {"constant", "sbdm",       "sigma",
                                                 "linear",   "decreasing", "increasing-decreasing"};
  return names;
}

double diffusion_coefficient(FlowPath path, const std::string& form, double norm, double t) {
  if (form == "constant") return norm;
  if (form == "sigma") return norm * path_point(path, t).sigma;
  if (form == "linear") return norm * (1 - t);
  if (form == "decreasing") return 0.25 * std::pow(norm * std::cos(kPi * t) + 1, 2);
  if (form == "increasing-decreasing") return norm * std::pow(std::sin(kPi * t), 2);
  if (form == "sbdm") {
    const double w = norm * path_point(path, t).drift_variance;
    require(std::isfinite(w), "the diffusion form sbdm is infinite at t = ", t,
            " on this path; start later, or choose sigma, linear, decreasing or constant");
    return w;
  }
  std::string known;
  for (const std::string& name : diffusion_forms()) known += " " + name;
  fail("unknown diffusion form '", form, "'; there are", known);
}

double logit_normal_time(double standard_normal) { return 1 / (1 + std::exp(-standard_normal)); }

double normal_quantile(double u) {
  u = std::clamp(u, 1e-16, 1 - 1e-16);
  // Of the smaller tail, where erfc keeps its relative precision; bisection halves 10 to an ulp in
  // 60 steps, which is nothing beside a training step and needs no table of coefficients.
  const double tail = std::min(u, 1 - u);
  double low = -10, high = 0;
  for (int i = 0; i < 64; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::numbers::sqrt2) < tail ? low : high) = middle;
  }
  const double z = 0.5 * (low + high);
  return u <= 0.5 ? z : -z;
}

}  // namespace gallop::diffusion
