#pragma once

#include <string>

#include "gallop/config/schema.h"
#include "gallop/diffusion/gaussian_diffusion.h"
#include "gallop/diffusion/objective.h"

namespace gallop::diffusion {

/// Settings of the objective "ddpm"; the defaults are DiT's.
struct DdpmSettings : config::Fields<DdpmSettings> {
  int64_t steps = 1000;
  std::string schedule = "linear";
  std::string prediction = "eps";
  std::string variance = "learned";
  std::string loss = "mse";
  void fields(config::Visitor& visitor) override;
};

/// Denoising diffusion over discrete steps; times are step indices, int64, 0 the least noisy.
class DdpmObjective : public Objective {
 public:
  explicit DdpmObjective(const DdpmSettings& settings);

  const GaussianDiffusion& diffusion() const { return diffusion_; }

  const char* kind() const override { return "ddpm"; }
  int64_t output_channels(int64_t channels) const override;
  at::Tensor draw_time(int64_t count, const std::function<double(int64_t)>& uniform) const override;
  at::Tensor spread_time(int64_t count) const override;
  Noised corrupt(const at::Tensor& clean_BCHW, const at::Tensor& t_B,
                 const at::Tensor& noise_BCHW) const override;
  Losses loss(const at::Tensor& output, const Noised& noised) const override;
  double noise_level(double model_time) const override;

 private:
  GaussianDiffusion diffusion_;
  DdpmLoss loss_;
};

}  // namespace gallop::diffusion
