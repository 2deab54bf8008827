#include "gallop/diffusion/samplers/ddpm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "gallop/diffusion/samplers/sampler.h"

namespace gallop::diffusion {
namespace {

/// x_{t-1} = mean + sqrt(variance) noise, down to t = 0, whose step adds no noise.
class AncestralSampler : public Sampler {
 public:
  AncestralSampler(const DdpmSamplerSettings& settings, const DdpmProcess& process, int64_t steps)
      : diffusion_(shortened(process.diffusion(), settings.spacing, steps)), clip_(settings.clip) {}

  int64_t evaluations() const override { return diffusion_.schedule().steps(); }
  bool needs_noise() const override { return evaluations() > 1; }

 protected:
  at::Tensor run(const Denoiser& model, at::Tensor x, const NoiseSource& noise_source,
                 const StepCallback& on_step) const override {
    const int64_t steps = evaluations();
    for (int64_t k = 0; k < steps; ++k) {
      const int64_t i = steps - 1 - k;
      const at::Tensor t_B = at::full({x.size(0)}, i, x.options().dtype(c10::kLong));
      const Prediction p =
          diffusion_.p_mean_variance(model(x, diffusion_.model_time(t_B)), x, t_B, clip_);
      x = p.mean_BCHW;
      if (i > 0) x = x + (0.5 * p.log_variance).exp() * noise_source(k);
      on_step({k, steps, x, p.x0_BCHW});
    }
    return x;
  }

 private:
  GaussianDiffusion diffusion_;
  bool clip_;
};

const RegisterSampler<DdpmProcess, DdpmSamplerSettings> registered{
    "ddpm", "ddpm", "ancestral sampling, noise at every step but the last",
    "Ho et al., arXiv 2006.11239; respaced: arXiv 2102.09672",
    [](const DdpmSamplerSettings& settings, std::shared_ptr<const DdpmProcess> process,
       int64_t steps) { return std::make_unique<AncestralSampler>(settings, *process, steps); }};

}  // namespace

void DdpmSamplerSettings::fields(config::Visitor& v) {
  v.field(
      "spacing", spacing,
      "which steps of the process are visited: even from first to last, or ddim's integer stride",
      {"even", "ddim"});
  v.field("clip", clip, "clamp the estimate of the clean image to [-1, 1]; not for latents");
}

GaussianDiffusion shortened(const GaussianDiffusion& full, const std::string& spacing,
                            int64_t steps) {
  return full.respaced((spacing == "ddim" ? "ddim" : "") + std::to_string(steps));
}

}  // namespace gallop::diffusion
