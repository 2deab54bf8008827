#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "gallop/diffusion/samplers/sampler.h"

namespace gallop::diffusion {

/// An explicit Runge-Kutta method of s stages: k_i = f(t + nodes[i] h, x + h sum_j stages[i][j]
/// k_j), x <- x + h sum_i weights[i] k_i. stages[i] has i entries.
struct Tableau {
  std::vector<double> nodes;
  std::vector<std::vector<double>> stages;
  std::vector<double> weights;
};

struct OdeSettings : config::Fields<OdeSettings> {
  std::optional<double> start, end;
  void fields(config::Visitor& visitor) override;
  void validate() const override;
};

/// The probability-flow ODE of a flow on an even grid.
class RungeKuttaTrajectory : public Trajectory {
 public:
  RungeKuttaTrajectory(Tableau tableau, std::shared_ptr<const FlowObjective> objective,
                       at::Tensor x_BCHW, int64_t steps, double start, double end);

 protected:
  Query ask() override;
  std::optional<Ended> take(const Query& query, const at::Tensor& output) override;

 private:
  /// Path time of the stage that is under way.
  double time() const;
  at::Tensor advanced(const std::vector<double>& weights) const;

  Tableau tableau_;
  std::shared_ptr<const FlowObjective> objective_;
  double start_, h_;
  std::vector<at::Tensor> slopes_;  ///< of the stages before this one
};

/// Integrating from 1 to 0 turns images into the noise that would make them.
class RungeKuttaSampler : public Sampler {
 public:
  RungeKuttaSampler(Tableau tableau, const OdeSettings& settings,
                    std::shared_ptr<const FlowObjective> objective, int64_t steps);

  int64_t evaluations() const override;

 protected:
  std::unique_ptr<Trajectory> start(at::Tensor x_BCHW, NoiseSource noise_source) const override;

 private:
  Tableau tableau_;
  std::shared_ptr<const FlowObjective> objective_;
  int64_t steps_;
  double start_, end_;
};

/// Registers a Runge-Kutta method as a sampler of flows.
class RegisterRungeKutta {
 public:
  RegisterRungeKutta(const char* kind, const char* summary, const char* paper, Tableau tableau);

 private:
  RegisterSampler<FlowObjective, OdeSettings> registered_;
};

}  // namespace gallop::diffusion
