#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

#include "gallop/diffusion/samplers/sde.h"

namespace gallop::diffusion {
namespace {

/// The noise first, then a Heun step of the drift from the noised state.
class SdeHeunSteps : public SdeTrajectory {
 public:
  using SdeTrajectory::SdeTrajectory;

 protected:
  Point next_point() override {
    if (first_.defined()) return {noised_ + first_ * h(), std::min(t() + h(), 1.0)};
    noised_ = x() + noise() * std::sqrt(2 * diffusion(t()) * h());
    return {noised_, t()};
  }
  std::optional<at::Tensor> advance(const Slopes& s) override {
    if (!first_.defined()) {
      first_ = s.drift();
      return std::nullopt;
    }
    const at::Tensor next = noised_ + (first_ + s.drift()) * (0.5 * h());
    first_.reset();
    return next;
  }

 private:
  at::Tensor noised_;
  at::Tensor first_;  ///< the drift there; undefined before it is known
};
using SdeHeunSampler = SdeSampler<SdeHeunSteps, 2>;

const RegisterSampler<FlowObjective, SdeSettings> registered{
    "sde-heun", "flow", "SDE of a flow, Heun step of the drift, two network calls a step",
    "SiT, arXiv 2401.08740",
    [](const SdeSettings& settings, std::shared_ptr<const FlowObjective> objective, int64_t steps) {
      return std::make_unique<SdeHeunSampler>(settings, std::move(objective), steps);
    }};

}  // namespace
}  // namespace gallop::diffusion
