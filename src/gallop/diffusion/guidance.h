#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "gallop/diffusion/network.h"
#include "gallop/diffusion/objective.h"

namespace gallop::diffusion {

/// Classifier-free guidance: null + scale (cond - null) (Ho & Salimans, arXiv 2207.12598), within
/// an interval of noise levels (Kynkaanniemi et al., arXiv 2404.07724), on all image channels or on
/// the first three as in the published DiT and SiT samples.
struct GuidanceSettings {
  double scale = 1;
  std::string channels = "all";  ///< or "first-3"
  double from = 0, to = 1;       ///< noise levels, 0 is data and 1 pure noise
  /// Throws Error for an empty interval and for a scale that is not finite in float32.
  void validate() const;
  /// Whether the unconditional branch is needed at this noise level.
  bool acts_at(double level) const { return scale != 1 && level >= from && level <= to; }
  /// How many of so many image channels are guided.
  int64_t guided_of(int64_t image_channels) const {
    return channels == "first-3" ? std::min<int64_t>(3, image_channels) : image_channels;
  }
};

/// A network with a class condition: (x_BCHW, t_B, label_B) -> output.
using LabelledNetwork = std::function<at::Tensor(const at::Tensor& x_BCHW, const at::Tensor& t_B,
                                                 const at::Tensor& label_B)>;

/// The guided output from those of the two branches: the first `channels` channels are combined,
/// the rest (a variance code, or what DiT leaves out) stays conditional.
at::Tensor combine_guided(const at::Tensor& conditional, const at::Tensor& unconditional,
                          double scale, int64_t channels);

/// The denoiser that a sampler calls. It runs one batch [cond; null] through the model where
/// guidance acts, and the conditional branch alone at scale 1 and outside the interval. `label_B`
/// and `null_B` are int64 [B]; the time of a call is the same for all samples.
Network guided(LabelledNetwork model, std::shared_ptr<const Objective> objective,
               const GuidanceSettings& settings, at::Tensor label_B, at::Tensor null_B);

}  // namespace gallop::diffusion
