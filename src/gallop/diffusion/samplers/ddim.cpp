#include "gallop/diffusion/samplers/ddim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace gallop::diffusion {
namespace {

/// x_{t-1} = sqrt(abar') x_0 + sqrt(1 - abar' - s^2) eps + s noise, abar' of the step before, with
/// s = eta sqrt((1 - abar')/(1 - abar)) sqrt(1 - abar/abar'); eps is taken again from the (clipped)
/// x_0.
class DdimTrajectory : public DdpmTrajectory {
 public:
  DdimTrajectory(std::shared_ptr<const GaussianDiffusion> diffusion, at::Tensor x_BCHW,
                 NoiseSource noise, bool clip, double eta)
      : DdpmTrajectory(std::move(diffusion), std::move(x_BCHW), std::move(noise), clip),
        eta_(eta) {}

 protected:
  std::optional<Ended> take(const Query&, const at::Tensor& output) override {
    const DdpmSchedule& s = diffusion().schedule();
    const int64_t i = index();
    const at::Tensor x0 = prediction(output).x0_BCHW;
    const at::Tensor eps = diffusion().eps_from_x0(x(), index_B(), x0);
    const double bar = s.alphas_cumprod[i], prev = s.alphas_cumprod_prev[i];
    const double sigma = eta_ * std::sqrt((1 - prev) / (1 - bar)) * std::sqrt(1 - bar / prev);
    at::Tensor next =
        std::sqrt(prev) * x0 + std::sqrt(std::max(0.0, 1 - prev - sigma * sigma)) * eps;
    if (i > 0 && eta_ > 0) next = next + sigma * noise();
    return Ended{next, x0};
  }

 private:
  double eta_;
};

class DdimSampler : public DdpmSampler {
 public:
  DdimSampler(const DdimSettings& settings, const DdpmObjective& objective, int64_t steps)
      : DdpmSampler(objective, settings.spacing, steps), clip_(settings.clip), eta_(settings.eta) {}

  bool needs_noise() const override { return eta_ > 0 && evaluations() > 1; }

 protected:
  std::unique_ptr<Trajectory> start(at::Tensor x_BCHW, NoiseSource noise) const override {
    return std::make_unique<DdimTrajectory>(diffusion(), std::move(x_BCHW), std::move(noise), clip_,
                                            eta_);
  }

 private:
  bool clip_;
  double eta_;
};

const RegisterSampler<DdpmObjective, DdimSettings> registered{
    "ddim", "ddpm", "deterministic at eta = 0, as noisy as ancestral sampling at eta = 1",
    "Song et al., arXiv 2010.02502",
    [](const DdimSettings& settings, std::shared_ptr<const DdpmObjective> objective,
       int64_t steps) { return std::make_unique<DdimSampler>(settings, *objective, steps); }};

}  // namespace

void DdimSettings::fields(config::Visitor& v) {
  v.field(
      "spacing", spacing,
      "which steps of the process are visited: even from first to last, or ddim's integer stride",
      {"even", "ddim"});
  v.field("clip", clip, "clamp the estimate of the clean image to [-1, 1]; not for latents");
  v.field("eta", eta, "share of the ancestral noise added at each step", config::between(0, 1));
}

at::Tensor ddim_invert(const GaussianDiffusion& diffusion, const Network& model,
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
