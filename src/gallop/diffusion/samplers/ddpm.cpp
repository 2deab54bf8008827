#include "gallop/diffusion/samplers/ddpm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <utility>

namespace gallop::diffusion {
namespace {

/// x_{t-1} = mean + sqrt(variance) noise, down to t = 0, whose step adds no noise.
class AncestralTrajectory : public DdpmTrajectory {
 public:
  using DdpmTrajectory::DdpmTrajectory;

 protected:
  std::optional<Ended> take(const Query&, const at::Tensor& output) override {
    const Prediction p = prediction(output);
    at::Tensor next = p.mean_BCHW;
    if (index() > 0) next = next + (0.5 * p.log_variance).exp() * noise();
    return Ended{next, p.x0_BCHW};
  }
};

class AncestralSampler : public DdpmSampler {
 public:
  AncestralSampler(const DdpmSamplerSettings& settings, const DdpmObjective& objective,
                   int64_t steps)
      : DdpmSampler(objective, settings.spacing, steps), clip_(settings.clip) {}

  bool needs_noise() const override { return evaluations() > 1; }

 protected:
  std::unique_ptr<Trajectory> start(at::Tensor x_BCHW, NoiseSource noise) const override {
    return std::make_unique<AncestralTrajectory>(diffusion(), std::move(x_BCHW), std::move(noise),
                                                 clip_);
  }

 private:
  bool clip_;
};

const RegisterSampler<DdpmObjective, DdpmSamplerSettings> registered{
    "ddpm", "ddpm", "ancestral sampling, noise at every step but the last",
    "Ho et al., arXiv 2006.11239; respaced: arXiv 2102.09672",
    [](const DdpmSamplerSettings& settings, std::shared_ptr<const DdpmObjective> objective,
       int64_t steps) { return std::make_unique<AncestralSampler>(settings, *objective, steps); }};

}  // namespace

void DdpmSamplerSettings::fields(config::Visitor& v) {
  v.field(
      "spacing", spacing,
      "which steps of the process are visited: even from first to last, or ddim's integer stride",
      {"even", "ddim"});
  v.field("clip", clip, "clamp the estimate of the clean image to [-1, 1]; not for latents");
}

DdpmTrajectory::DdpmTrajectory(std::shared_ptr<const GaussianDiffusion> diffusion,
                               at::Tensor x_BCHW, NoiseSource noise, bool clip)
    : Trajectory(std::move(x_BCHW), diffusion->schedule().steps()),
      diffusion_(std::move(diffusion)),
      noise_(std::move(noise)),
      clip_(clip) {}

at::Tensor DdpmTrajectory::index_B() const {
  return at::full({x().size(0)}, index(), x().options().dtype(c10::kLong));
}

Query DdpmTrajectory::ask() { return {x(), diffusion_->model_time(index_B())}; }

Prediction DdpmTrajectory::prediction(const at::Tensor& output) const {
  return diffusion_->p_mean_variance(output, x(), index_B(), clip_);
}

// The process that visits `steps` of the steps trained on.
DdpmSampler::DdpmSampler(const DdpmObjective& objective, const std::string& spacing, int64_t steps)
    : diffusion_(std::make_shared<GaussianDiffusion>(objective.diffusion().respaced(
          (spacing == "ddim" ? "ddim" : "") + std::to_string(steps)))) {}

}  // namespace gallop::diffusion
