#pragma once

#include "gallop/diffusion/samplers/ddpm.h"
#include "gallop/diffusion/samplers/sampler.h"

namespace gallop::diffusion {

struct DdimSettings : config::Fields<DdimSettings> {
  std::string spacing = "even";
  bool clip = false;
  double eta = 0;
  void fields(config::Visitor& visitor) override;
};

/// The noise that DDIM sampling with eta = 0 would turn into these images, found by running its ODE
/// upwards through the steps of `diffusion` (steps - 1 steps, from index 0).
at::Tensor ddim_invert(const GaussianDiffusion& diffusion, const Network& model,
                       const at::Tensor& clean_BCHW, bool clip, const StepCallback& on_step = {});

}  // namespace gallop::diffusion
