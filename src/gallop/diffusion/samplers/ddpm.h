#pragma once

#include <memory>
#include <string>

#include "gallop/config/schema.h"
#include "gallop/diffusion/gaussian_diffusion.h"
#include "gallop/diffusion/samplers/sampler.h"

namespace gallop::diffusion {

/// Settings that all samplers of discrete diffusion share.
struct DdpmSamplerSettings : config::Fields<DdpmSamplerSettings> {
  std::string spacing = "even";
  bool clip = false;
  void fields(config::Visitor& visitor) override;
};

/// A way down the steps of a discrete process, one network call each, down to index 0.
class DdpmTrajectory : public Trajectory {
 public:
  DdpmTrajectory(std::shared_ptr<const GaussianDiffusion> diffusion, at::Tensor x_BCHW,
                 NoiseSource noise, bool clip);

 protected:
  Query ask() override;
  const GaussianDiffusion& diffusion() const { return *diffusion_; }
  /// Of the step that is under way, in the process of the visited steps.
  int64_t index() const { return steps() - 1 - step(); }
  at::Tensor index_B() const;
  Prediction prediction(const at::Tensor& output) const;
  at::Tensor noise() const { return noise_(step()); }

 private:
  std::shared_ptr<const GaussianDiffusion> diffusion_;
  NoiseSource noise_;
  bool clip_;
};

/// What samplers of discrete diffusion share: the process that visits `steps` of the steps trained
/// on; `spacing` as in DdpmSamplerSettings.
class DdpmSampler : public Sampler {
 public:
  DdpmSampler(const DdpmObjective& objective, const std::string& spacing, int64_t steps);
  int64_t evaluations() const override { return diffusion_->schedule().steps(); }

 protected:
  const std::shared_ptr<const GaussianDiffusion>& diffusion() const { return diffusion_; }

 private:
  std::shared_ptr<const GaussianDiffusion> diffusion_;
};

}  // namespace gallop::diffusion
