#pragma once

#include <string>

#include "gallop/config/schema.h"
#include "gallop/diffusion/gaussian_diffusion.h"

namespace gallop::diffusion {

/// Settings that all samplers of discrete diffusion share.
struct DdpmSamplerSettings : config::Fields<DdpmSamplerSettings> {
  std::string spacing = "even";
  bool clip = false;
  void fields(config::Visitor& visitor) override;
};

/// The process that visits `steps` of the steps trained on; `spacing` as in DdpmSamplerSettings.
GaussianDiffusion shortened(const GaussianDiffusion& full, const std::string& spacing,
                            int64_t steps);

}  // namespace gallop::diffusion
