#include "gallop/diffusion/samplers/sde.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "gallop/base/error.h"

namespace gallop::diffusion {

void SdeSettings::fields(config::Visitor& v) {
  v.field("diffusion", diffusion, "how the noise added depends on the time, w(t)",
          diffusion_forms());
  v.field("norm", norm, "factor of w(t); 0 makes the SDE the ODE", config::at_least(0));
  v.field(
      "last", last,
      "the last step, without noise: mean (drift of the SDE), euler (drift of the ODE), tweedie "
      "(estimate of the clean image), or none",
      {"mean", "euler", "tweedie", "none"});
  v.field("last_step", last_step, "length of the last step in path time", config::between(0, 1));
  v.field("start", start,
          "path time to start at, 0 is noise; absent: as early as the prediction allows",
          config::between(0, 1));
}

void SdeSettings::validate() const {
  require(last == "none" || (last_step > 0 && last_step + start.value_or(0) < 1),
          "last_step = ", last_step,
          " leaves no room for the steps before it (start = ", start.value_or(0),
          "); it must lie between 0 and 1 - start");
}

SdeSampler::SdeSampler(const SdeSettings& settings, std::shared_ptr<const FlowProcess> process,
                       int64_t steps)
    : settings_(settings), process_(std::move(process)), steps_(steps) {
  settings_.validate();
  const Flow& flow = process_->flow();
  interval_ = sde_interval(flow.path(), flow.prediction(), has_last() ? settings.last_step : 0);
  if (settings.start) interval_.first = *settings.start;
}

at::Tensor SdeSampler::Slopes::drift() const { return velocity + w * score; }

double SdeSampler::diffusion(double t) const {
  return diffusion_coefficient(process_->flow().path(), settings_.diffusion, settings_.norm, t);
}

SdeSampler::Slopes SdeSampler::slopes(const Denoiser& model, const at::Tensor& x, double t) const {
  const at::Tensor t_B = at::full({x.size(0)}, t, c10::kDouble);
  const at::Tensor output = process_->evaluate(model, x, t);
  const Flow& flow = process_->flow();
  return {flow.output_to_velocity(output, x, t_B), flow.output_to_score(output, x, t_B),
          diffusion(t)};
}

at::Tensor SdeSampler::finish(const Denoiser& model, const at::Tensor& x) const {
  const double t = interval_.last;
  const Slopes s = slopes(model, x, t);
  if (settings_.last == "mean") return x + s.drift() * settings_.last_step;
  if (settings_.last == "euler") return x + s.velocity * settings_.last_step;
  const PathPoint p = path_point(process_->flow().path(), t);
  return x / p.alpha + s.score * (p.sigma * p.sigma / p.alpha);
}

at::Tensor SdeSampler::run(const Denoiser& model, at::Tensor x, const NoiseSource& noise_source,
                           const StepCallback& on_step) const {
  const int64_t stochastic = stochastic_steps();
  const double h = stochastic > 0 ? (interval_.last - interval_.first) / stochastic : 0;
  for (int64_t k = 0; k < stochastic; ++k) {
    x = step(model, x, interval_.first + h * k, h, noise_source(k));
    on_step({k, steps_, x, {}});
  }
  if (has_last()) {
    x = finish(model, x);
    on_step({steps_ - 1, steps_, x, {}});
  }
  return x;
}

}  // namespace gallop::diffusion
