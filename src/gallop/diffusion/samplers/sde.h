#pragma once

#include <memory>
#include <optional>
#include <string>

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
/// step. With last = "none" all steps are stochastic and the grid goes to the end. The methods
/// differ in the stochastic step.
class SdeSampler : public Sampler {
 public:
  SdeSampler(const SdeSettings& settings, std::shared_ptr<const FlowProcess> process,
             int64_t steps);

  bool needs_noise() const override { return stochastic_steps() > 0; }

 protected:
  struct Slopes {
    at::Tensor velocity, score;
    double w;  ///< the diffusion coefficient
    at::Tensor drift() const;
  };

  /// One stochastic step of length h from time t.
  virtual at::Tensor step(const Denoiser& model, const at::Tensor& x_BCHW, double t, double h,
                          const at::Tensor& noise_BCHW) const = 0;

  /// One network call.
  Slopes slopes(const Denoiser& model, const at::Tensor& x_BCHW, double t) const;
  double diffusion(double t) const;
  int64_t stochastic_steps() const { return has_last() ? steps_ - 1 : steps_; }
  bool has_last() const { return settings_.last != "none"; }

  at::Tensor run(const Denoiser& model, at::Tensor x_BCHW, const NoiseSource& noise_source,
                 const StepCallback& on_step) const override;

 private:
  at::Tensor finish(const Denoiser& model, const at::Tensor& x_BCHW) const;

  SdeSettings settings_;
  std::shared_ptr<const FlowProcess> process_;
  int64_t steps_;
  TimeInterval interval_;
};

}  // namespace gallop::diffusion
