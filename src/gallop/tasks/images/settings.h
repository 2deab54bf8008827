#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gallop/config/schema.h"
#include "gallop/data/dataset.h"
#include "gallop/diffusion/guidance.h"

namespace gallop::tasks {

/// [task.eval]: the held-out loss on a fixed set of (sample, time, noise).
struct EvaluationSettings : config::Fields<EvaluationSettings> {
  int64_t samples = 2000;
  int64_t batch = 200;
  void fields(config::Visitor& v) override;
};

/// [task.sample]: how images are drawn. The one list of what can be asked for: by a recipe for its
/// sheets, on the command line, by JSON.
struct SampleSettings : config::Fields<SampleSettings> {
  config::Component sampler{"sampler", "heun"};
  int64_t steps = 25;
  double guidance = 2;
  double guidance_from = 0, guidance_to = 1;
  std::string guidance_channels = "all";
  int64_t per_class = 8;
  std::vector<std::string> labels;
  std::optional<int64_t> count;
  int64_t first = 0;
  std::string seed;
  int64_t batch = 64;
  std::vector<std::string> off;
  void fields(config::Visitor& v) override;
  void validate() const override;
  diffusion::GuidanceSettings guidance_settings() const;
};

/// [task] of kind "image-generation".
struct ImageGenerationSettings : config::Fields<ImageGenerationSettings> {
  data::DataConfig data;
  config::Component model{"denoiser", "dit"};
  config::Component objective{"objective", "flow"};
  EvaluationSettings eval;
  SampleSettings sample;
  void fields(config::Visitor& v) override;
};

}  // namespace gallop::tasks
