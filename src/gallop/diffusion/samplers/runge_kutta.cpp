#include "gallop/diffusion/samplers/runge_kutta.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <algorithm>

#include "gallop/base/error.h"

namespace gallop::diffusion {

void OdeSettings::fields(config::Visitor& v) {
  v.field("start", start,
          "path time to start at: 0 is noise, 1 is data; absent: as early as the prediction allows",
          config::between(0, 1));
  v.field("end", end, "path time to end at; absent: as late as the prediction allows",
          config::between(0, 1));
}

void OdeSettings::validate() const {
  require(!start || !end || *start != *end, "start and end of an ODE sampler are both ",
          start.value_or(0), ": there is nothing to integrate");
}

RungeKuttaSampler::RungeKuttaSampler(Tableau tableau, const OdeSettings& settings,
                                     std::shared_ptr<const FlowProcess> process, int64_t steps)
    : tableau_(std::move(tableau)), process_(std::move(process)), steps_(steps) {
  const TimeInterval usual = ode_interval(process_->flow().path(), process_->flow().prediction());
  start_ = settings.start.value_or(usual.first);
  end_ = settings.end.value_or(usual.last);
}

int64_t RungeKuttaSampler::evaluations() const {
  return steps_ * static_cast<int64_t>(tableau_.weights.size());
}

at::Tensor RungeKuttaSampler::velocity(const Denoiser& model, const at::Tensor& x, double t) const {
  t = std::clamp(t, 0.0, 1.0);  // t + h may pass an end by a rounding error
  const at::Tensor t_B = at::full({x.size(0)}, t, c10::kDouble);
  return process_->flow().output_to_velocity(process_->evaluate(model, x, t), x, t_B);
}

at::Tensor RungeKuttaSampler::run(const Denoiser& model, at::Tensor x, const NoiseSource&,
                                  const StepCallback& on_step) const {
  const double h = (end_ - start_) / steps_;
  for (int64_t k = 0; k < steps_; ++k) {
    const double t = start_ + h * k;
    std::vector<at::Tensor> slopes;
    const auto advanced = [&](const std::vector<double>& weights) {
      at::Tensor result = x;
      for (size_t j = 0; j < weights.size(); ++j)
        if (weights[j] != 0) result = result + slopes[j] * (h * weights[j]);
      return result;
    };
    for (size_t i = 0; i < tableau_.nodes.size(); ++i)
      slopes.push_back(velocity(model, advanced(tableau_.stages[i]), t + tableau_.nodes[i] * h));
    x = advanced(tableau_.weights);
    on_step({k, steps_, x, {}});
  }
  return x;
}

RegisterRungeKutta::RegisterRungeKutta(const char* kind, const char* summary, const char* paper,
                                       Tableau tableau)
    : registered_(kind, "flow", summary, paper,
                  [tableau = std::move(tableau)](const OdeSettings& settings,
                                                 std::shared_ptr<const FlowProcess> process,
                                                 int64_t steps) {
                    return std::make_unique<RungeKuttaSampler>(tableau, settings,
                                                               std::move(process), steps);
                  }) {}

}  // namespace gallop::diffusion
