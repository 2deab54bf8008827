#pragma once

#include <string>

#include "gallop/config/schema.h"
#include "gallop/diffusion/flow.h"
#include "gallop/diffusion/objective.h"

namespace gallop::diffusion {

/// Settings of the objective "flow"; the defaults are SiT's with an output as wide as the image.
struct FlowSettings : config::Fields<FlowSettings> {
  std::string path = "linear";
  std::string prediction = "velocity";
  std::string time = "uniform";
  std::string weighting = "none";
  bool reversed = false;
  double time_scale = 1;
  bool double_output = false;
  void fields(config::Visitor& visitor) override;
  void validate() const override;
};

/// Flow matching. Times are float32 in [0, 1] in the convention of the recipe: 1 is data, or noise
/// if `reversed` (DiT-MoE, ProMoE, REPA), where a velocity points from data to noise, too. The path
/// itself always runs from noise (t = 0) to data.
class FlowObjective : public Objective {
 public:
  explicit FlowObjective(const FlowSettings& settings);

  const Flow& flow() const { return flow_; }
  /// Path time t (the same for all samples) as the network is told it, [B] for the images x.
  at::Tensor model_time(const at::Tensor& x_BCHW, double t) const;
  /// The image channels of what the network put out for images of so many, as the path sees them: a
  /// reversed velocity turned round.
  at::Tensor read_output(const at::Tensor& output, int64_t channels) const;

  const char* kind() const override { return "flow"; }
  int64_t output_channels(int64_t channels) const override;
  at::Tensor draw_time(int64_t count, const std::function<double(int64_t)>& uniform) const override;
  at::Tensor spread_time(int64_t count) const override;
  Noised corrupt(const at::Tensor& clean_BCHW, const at::Tensor& t_B,
                 const at::Tensor& noise_BCHW) const override;
  Losses loss(const at::Tensor& output, const Noised& noised) const override;
  double noise_level(double model_time) const override;

 private:
  /// Path time from a time in the recipe's convention, and back.
  at::Tensor path_time(const at::Tensor& t_B) const;
  /// Turns a velocity round if the convention is reversed.
  at::Tensor oriented(const at::Tensor& output) const;
  /// The first `channels` of an output that has as many, or twice as many if that was asked for.
  at::Tensor image_channels(const at::Tensor& output, int64_t channels) const;
  template <class Fraction>
  at::Tensor times_at(int64_t count, Fraction fraction) const;

  Flow flow_;
  FlowWeight weight_;
  bool logit_normal_, reversed_, double_output_;
  double time_scale_;
};

}  // namespace gallop::diffusion
