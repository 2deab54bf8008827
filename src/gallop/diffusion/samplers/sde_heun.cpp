#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

#include "gallop/diffusion/samplers/sde.h"

namespace gallop::diffusion {
namespace {

/// The noise first, then a Heun step of the drift from the noised state.
class SdeHeunSampler : public SdeSampler {
 public:
  using SdeSampler::SdeSampler;
  int64_t evaluations() const override { return 2 * stochastic_steps() + (has_last() ? 1 : 0); }

 protected:
  at::Tensor step(const Denoiser& model, const at::Tensor& x, double t, double h,
                  const at::Tensor& noise) const override {
    const at::Tensor noised = x + noise * std::sqrt(2 * diffusion(t) * h);
    const at::Tensor first = slopes(model, noised, t).drift();
    const at::Tensor second = slopes(model, noised + first * h, std::min(t + h, 1.0)).drift();
    return noised + (first + second) * (0.5 * h);
  }
};

const RegisterSampler<FlowProcess, SdeSettings> registered{
    "sde-heun", "flow", "SDE of a flow, Heun step of the drift, two network calls a step",
    "SiT, arXiv 2401.08740",
    [](const SdeSettings& settings, std::shared_ptr<const FlowProcess> process, int64_t steps) {
      return std::make_unique<SdeHeunSampler>(settings, std::move(process), steps);
    }};

}  // namespace
}  // namespace gallop::diffusion
