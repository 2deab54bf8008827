#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>

#include <memory>
#include <string>
#include <vector>

#include "gallop/config/registry.h"
#include "gallop/diffusion/samplers/sampler.h"

namespace gallop::testing {

/// Collects the states that a sampler passes through.
struct States {
  std::vector<at::Tensor> x, x0;

  diffusion::StepCallback callback() {
    return [this](const diffusion::StepState& state) {
      x.push_back(state.x_BCHW);
      x0.push_back(state.x0_BCHW);
    };
  }
  at::Tensor states() const { return at::stack(x); }
  at::Tensor clean() const { return at::stack(x0); }
};

/// An objective of the registry with its settings changed by `edit`.
template <class Settings, class Edit>
std::shared_ptr<const diffusion::Objective> make_objective(const std::string& kind, Edit edit) {
  config::Component component("objective", kind);
  edit(component.as<Settings>());
  return config::make<diffusion::Objective>(component, {});
}

/// A sampler of the registry with its settings changed by `edit`.
template <class Settings, class Edit>
std::unique_ptr<diffusion::Sampler> make_sampler(
    const std::string& kind, const std::shared_ptr<const diffusion::Objective>& objective,
    int64_t steps, Edit edit) {
  config::Component component("sampler", kind);
  edit(component.as<Settings>());
  return config::make<diffusion::Sampler>(component, {.objective = objective, .steps = steps});
}

}  // namespace gallop::testing
