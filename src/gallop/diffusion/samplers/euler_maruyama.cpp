#include <ATen/TensorOperators.h>

#include <cmath>

#include "gallop/diffusion/samplers/sde.h"

namespace gallop::diffusion {
namespace {

/// x <- x + drift h + sqrt(2 w h) noise.
class EulerMaruyamaSampler : public SdeSampler {
 public:
  using SdeSampler::SdeSampler;
  int64_t evaluations() const override { return stochastic_steps() + (has_last() ? 1 : 0); }

 protected:
  at::Tensor step(const Denoiser& model, const at::Tensor& x, double t, double h,
                  const at::Tensor& noise) const override {
    const Slopes s = slopes(model, x, t);
    return x + s.drift() * h + noise * std::sqrt(2 * s.w * h);
  }
};

const RegisterSampler<FlowProcess, SdeSettings> registered{
    "euler-maruyama", "flow", "SDE of a flow, one network call a step", "SiT, arXiv 2401.08740",
    [](const SdeSettings& settings, std::shared_ptr<const FlowProcess> process, int64_t steps) {
      return std::make_unique<EulerMaruyamaSampler>(settings, std::move(process), steps);
    }};

}  // namespace
}  // namespace gallop::diffusion
