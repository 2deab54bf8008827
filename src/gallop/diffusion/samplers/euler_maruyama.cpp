#include <ATen/TensorOperators.h>

#include <cmath>

#include "gallop/diffusion/samplers/sde.h"

namespace gallop::diffusion {
namespace {

/// x <- x + drift h + sqrt(2 w h) noise.
class EulerMaruyamaSteps : public SdeTrajectory {
 public:
  using SdeTrajectory::SdeTrajectory;

 protected:
  Point next_point() override { return {x(), t()}; }
  std::optional<at::Tensor> advance(const Slopes& s) override {
    return x() + s.drift() * h() + noise() * std::sqrt(2 * s.w * h());
  }
};
using EulerMaruyamaSampler = SdeSampler<EulerMaruyamaSteps, 1>;

const RegisterSampler<FlowObjective, SdeSettings> registered{
    "euler-maruyama", "flow", "SDE of a flow, one network call a step", "SiT, arXiv 2401.08740",
    [](const SdeSettings& settings, std::shared_ptr<const FlowObjective> objective, int64_t steps) {
      return std::make_unique<EulerMaruyamaSampler>(settings, std::move(objective), steps);
    }};

}  // namespace
}  // namespace gallop::diffusion
