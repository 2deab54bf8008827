#include "gallop/diffusion/samplers/sde.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <utility>

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

SdeGrid::SdeGrid(const SdeSettings& s, std::shared_ptr<const FlowObjective> of, int64_t count)
    : settings(s), objective(std::move(of)), steps(count) {
  settings.validate();
  const Flow& flow = objective->flow();
  interval = sde_interval(flow.path(), flow.prediction(), has_last() ? settings.last_step : 0);
  if (settings.start) interval.first = *settings.start;
}

double SdeGrid::step_length() const {
  const int64_t stochastic = stochastic_steps();
  return stochastic > 0 ? (interval.last - interval.first) / stochastic : 0;
}

SdeTrajectory::SdeTrajectory(std::shared_ptr<const SdeGrid> grid, at::Tensor x, NoiseSource noise)
    : Trajectory(std::move(x), grid->steps),
      grid_(std::move(grid)),
      noise_(std::move(noise)),
      h_(grid_->step_length()) {}

at::Tensor SdeTrajectory::Slopes::drift() const { return velocity + w * score; }

double SdeTrajectory::diffusion(double t) const {
  return diffusion_coefficient(grid_->objective->flow().path(), grid_->settings.diffusion,
                               grid_->settings.norm, t);
}

Query SdeTrajectory::ask() {
  const Point point = is_last() ? Point{x(), grid_->interval.last} : next_point();
  asked_ = point.t;
  return {point.x_BCHW, grid_->objective->model_time(point.x_BCHW, point.t)};
}

std::optional<Trajectory::Ended> SdeTrajectory::take(const Query& query, const at::Tensor& out) {
  const at::Tensor& x_BCHW = query.x_BCHW;
  const at::Tensor t_B = at::full({x_BCHW.size(0)}, asked_, c10::kDouble);
  const Flow& flow = grid_->objective->flow();
  const at::Tensor output = grid_->objective->read_output(out, x_BCHW.size(1));
  const Slopes slopes{flow.output_to_velocity(output, x_BCHW, t_B),
                      flow.output_to_score(output, x_BCHW, t_B), diffusion(asked_)};
  if (is_last()) return Ended{finish(slopes), {}};
  const std::optional<at::Tensor> next = advance(slopes);
  return next ? std::optional(Ended{*next, {}}) : std::nullopt;
}

at::Tensor SdeTrajectory::finish(const Slopes& s) const {
  const SdeSettings& settings = grid_->settings;
  if (settings.last == "mean") return x() + s.drift() * settings.last_step;
  if (settings.last == "euler") return x() + s.velocity * settings.last_step;
  const PathPoint p = path_point(grid_->objective->flow().path(), grid_->interval.last);
  return x() / p.alpha + s.score * (p.sigma * p.sigma / p.alpha);
}

}  // namespace gallop::diffusion
