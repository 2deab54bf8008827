#include "gallop/diffusion/samplers/runge_kutta.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <utility>

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
                                     std::shared_ptr<const FlowObjective> objective, int64_t steps)
    : tableau_(std::move(tableau)), objective_(std::move(objective)), steps_(steps) {
  const TimeInterval usual =
      ode_interval(objective_->flow().path(), objective_->flow().prediction());
  start_ = settings.start.value_or(usual.first);
  end_ = settings.end.value_or(usual.last);
}

int64_t RungeKuttaSampler::evaluations() const {
  return steps_ * static_cast<int64_t>(tableau_.weights.size());
}

std::unique_ptr<Trajectory> RungeKuttaSampler::start(at::Tensor x, NoiseSource) const {
  return std::make_unique<RungeKuttaTrajectory>(tableau_, objective_, std::move(x), steps_, start_,
                                                end_);
}

RungeKuttaTrajectory::RungeKuttaTrajectory(Tableau tableau,
                                           std::shared_ptr<const FlowObjective> objective,
                                           at::Tensor x, int64_t steps, double start, double end)
    : Trajectory(std::move(x), steps),
      tableau_(std::move(tableau)),
      objective_(std::move(objective)),
      start_(start),
      h_((end - start) / steps) {}

double RungeKuttaTrajectory::time() const {
  const double t = start_ + h_ * step() + tableau_.nodes[slopes_.size()] * h_;
  return std::clamp(t, 0.0, 1.0);  // t + h may pass an end by a rounding error
}

at::Tensor RungeKuttaTrajectory::advanced(const std::vector<double>& weights) const {
  at::Tensor result = x();
  for (size_t j = 0; j < weights.size(); ++j)
    if (weights[j] != 0) result = result + slopes_[j] * (h_ * weights[j]);
  return result;
}

Query RungeKuttaTrajectory::ask() {
  const at::Tensor stage = advanced(tableau_.stages[slopes_.size()]);
  return {stage, objective_->model_time(stage, time())};
}

std::optional<Trajectory::Ended> RungeKuttaTrajectory::take(const Query& query,
                                                            const at::Tensor& output) {
  const at::Tensor& stage = query.x_BCHW;
  const at::Tensor t_B = at::full({stage.size(0)}, time(), c10::kDouble);
  slopes_.push_back(objective_->flow().output_to_velocity(
      objective_->read_output(output, stage.size(1)), stage, t_B));
  if (slopes_.size() < tableau_.nodes.size()) return std::nullopt;
  const at::Tensor next = advanced(tableau_.weights);
  slopes_.clear();
  return Ended{next, {}};
}

RegisterRungeKutta::RegisterRungeKutta(const char* kind, const char* summary, const char* paper,
                                       Tableau tableau)
    : registered_(kind, "flow", summary, paper,
                  [tableau = std::move(tableau)](const OdeSettings& settings,
                                                 std::shared_ptr<const FlowObjective> objective,
                                                 int64_t steps) {
                    return std::make_unique<RungeKuttaSampler>(tableau, settings,
                                                               std::move(objective), steps);
                  }) {}

}  // namespace gallop::diffusion
