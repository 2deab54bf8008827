#include "gallop/diffusion/samplers/ddim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace gallop::diffusion {
namespace {

/// x_{t-1} = sqrt(abar') x_0 + sqrt(1 - abar' - s^2) eps + s noise, abar' of the step before, with
/// s = eta sqrt((1 - abar')/(1 - abar)) sqrt(1 - abar/abar'); eps is taken again from the (clipped)
/// x_0.
class DdimSampler : public Sampler {
 public:
  DdimSampler(const DdimSettings& settings, const DdpmProcess& process, int64_t steps)
      : diffusion_(shortened(process.diffusion(), settings.spacing, steps)),
        clip_(settings.clip),
        eta_(settings.eta) {}

  int64_t evaluations() const override { return diffusion_.schedule().steps(); }
  bool needs_noise() const override { return eta_ > 0 && evaluations() > 1; }

 protected:
  at::Tensor run(const Denoiser& model, at::Tensor x, const NoiseSource& noise_source,
                 const StepCallback& on_step) const override {
    const DdpmSchedule& s = diffusion_.schedule();
    const int64_t steps = evaluations();
    for (int64_t k = 0; k < steps; ++k) {
      const int64_t i = steps - 1 - k;
      const at::Tensor t_B = at::full({x.size(0)}, i, x.options().dtype(c10::kLong));
      const at::Tensor x0 =
          diffusion_.p_mean_variance(model(x, diffusion_.model_time(t_B)), x, t_B, clip_).x0_BCHW;
      const at::Tensor eps = diffusion_.eps_from_x0(x, t_B, x0);
      const double bar = s.alphas_cumprod[i], prev = s.alphas_cumprod_prev[i];
      const double sigma = eta_ * std::sqrt((1 - prev) / (1 - bar)) * std::sqrt(1 - bar / prev);
      x = std::sqrt(prev) * x0 + std::sqrt(std::max(0.0, 1 - prev - sigma * sigma)) * eps;
      if (i > 0 && eta_ > 0) x = x + sigma * noise_source(k);
      on_step({k, steps, x, x0});
    }
    return x;
  }

 private:
  GaussianDiffusion diffusion_;
  bool clip_;
  double eta_;
};

const RegisterSampler<DdpmProcess, DdimSettings> registered{
    "ddim", "ddpm", "deterministic at eta = 0, as noisy as ancestral sampling at eta = 1",
    "Song et al., arXiv 2010.02502",
    [](const DdimSettings& settings, std::shared_ptr<const DdpmProcess> process, int64_t steps) {
      return std::make_unique<DdimSampler>(settings, *process, steps);
    }};

}  // namespace

void DdimSettings::fields(config::Visitor& v) {
  v.field(
      "spacing", spacing,
      "which steps of the process are visited: even from first to last, or ddim's integer stride",
      {"even", "ddim"});
  v.field("clip", clip, "clamp the estimate of the clean image to [-1, 1]; not for latents");
  v.field("eta", eta, "share of the ancestral noise added at each step", config::between(0, 1));
}

at::Tensor ddim_invert(const GaussianDiffusion& diffusion, const Denoiser& model,
                       const at::Tensor& clean_BCHW, bool clip, const StepCallback& on_step) {
  const c10::NoGradGuard no_grad;
  const int64_t steps = diffusion.schedule().steps() - 1;
  at::Tensor x = clean_BCHW;
  for (int64_t i = 0; i < steps; ++i) {
    const at::Tensor t_B = at::full({x.size(0)}, i, x.options().dtype(c10::kLong));
    const at::Tensor x0 =
        diffusion.p_mean_variance(model(x, diffusion.model_time(t_B)), x, t_B, clip).x0_BCHW;
    const at::Tensor eps = diffusion.eps_from_x0(x, t_B, x0);
    const double next = diffusion.schedule().alphas_cumprod_next[i];
    x = std::sqrt(next) * x0 + std::sqrt(1 - next) * eps;
    if (on_step) on_step({i, steps, x, x0});
  }
  return x;
}

}  // namespace gallop::diffusion
