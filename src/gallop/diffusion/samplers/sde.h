#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gallop/diffusion/samplers/sampler.h"

namespace gallop::diffusion {

struct SdeSettings : config::Fields<SdeSettings> {
  std::string diffusion = "sigma";
  double norm = 1;
  std::string last = "mean";
  double last_step = 0.04;
  std::optional<double> start;
  void fields(config::Visitor& visitor) override;
  void validate() const override;
};

/// The reverse SDE of a flow, dx = (v + w score) dt + sqrt(2 w) dW (SiT, arXiv 2401.08740): steps -
/// 1 stochastic steps on an even grid that ends `last_step` before the data, then one deterministic
/// step. With last = "none" all steps are stochastic and the grid goes to the end.
struct SdeGrid {
  SdeSettings settings;
  std::shared_ptr<const FlowObjective> objective;
  int64_t steps;
  TimeInterval interval;

  SdeGrid(const SdeSettings& settings, std::shared_ptr<const FlowObjective> objective,
          int64_t steps);
  bool has_last() const { return settings.last != "none"; }
  int64_t stochastic_steps() const { return has_last() ? steps - 1 : steps; }
  double step_length() const;
};

/// One way down the grid. The methods differ in the stochastic step.
class SdeTrajectory : public Trajectory {
 public:
  SdeTrajectory(std::shared_ptr<const SdeGrid> grid, at::Tensor x_BCHW, NoiseSource noise);

 protected:
  struct Slopes {
    at::Tensor velocity, score;
    double w;  ///< the diffusion coefficient
    at::Tensor drift() const;
  };

  /// Where a call of the stochastic step that is under way evaluates the network.
  struct Point {
    at::Tensor x_BCHW;
    double t;
  };
  /// Called once a network call; the first one of a step, its second, ...
  virtual Point next_point() = 0;
  /// The state after the step, where these slopes at the last point end it.
  virtual std::optional<at::Tensor> advance(const Slopes& slopes) = 0;

  Query ask() override;
  std::optional<Ended> take(const Query& query, const at::Tensor& output) override;

  /// Of the stochastic step that is under way: its begin and its length in path time, its noise.
  double t() const { return grid_->interval.first + h() * static_cast<double>(step()); }
  double h() const { return h_; }
  at::Tensor noise() const { return noise_(step()); }
  double diffusion(double t) const;

 private:
  bool is_last() const { return step() >= grid_->stochastic_steps(); }
  at::Tensor finish(const Slopes& slopes) const;

  std::shared_ptr<const SdeGrid> grid_;
  NoiseSource noise_;
  double h_;
  double asked_ = 0;  ///< path time of the last query
};

/// A sampler whose stochastic step is that of `Steps`, which calls the network `calls` times in it.
template <class Steps, int64_t calls>
class SdeSampler : public Sampler {
 public:
  SdeSampler(const SdeSettings& settings, std::shared_ptr<const FlowObjective> objective,
             int64_t steps)
      : grid_(std::make_shared<SdeGrid>(settings, std::move(objective), steps)) {}
  int64_t evaluations() const override {
    return calls * grid_->stochastic_steps() + (grid_->has_last() ? 1 : 0);
  }
  bool needs_noise() const override { return grid_->stochastic_steps() > 0; }

 protected:
  std::unique_ptr<Trajectory> start(at::Tensor x_BCHW, NoiseSource noise) const override {
    return std::make_unique<Steps>(grid_, std::move(x_BCHW), std::move(noise));
  }

 private:
  std::shared_ptr<const SdeGrid> grid_;
};

}  // namespace gallop::diffusion
