#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gallop::diffusion {

/// The noise variances of a discrete process: "linear" (Ho et al., arXiv 2006.11239: 1e-4 .. 0.02
/// for 1000 steps, both ends times 1000/steps otherwise) or "cosine" (Nichol & Dhariwal, arXiv
/// 2102.09672; also under its name in the DiT code, "squaredcos_cap_v2").
std::vector<double> betas(const std::string& schedule, int64_t steps);

/// The ascending indices that a shorter sampling process keeps of `steps` (Nichol & Dhariwal,
/// section 4; DiT diffusion/respace.py). `spacing` is "" (all), "N" (N indices from first to last
/// at an even stride, rounded half to even), "A,B,C" (the steps cut into as many equal sections,
/// that many indices of each), or "ddimN" (the largest integer stride that gives exactly N). Throws
/// Error if it cannot be had.
std::vector<int64_t> space_timesteps(int64_t steps, const std::string& spacing);

/// A discrete Gaussian process q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t) and
/// everything derived from its betas, in float64. Index 0 is the least noisy step. Names as in the
/// DiT code; "alphas_cumprod" is the product of 1 - beta up to and including the index.
struct DdpmSchedule {
  std::vector<double> betas;
  /// Index of each step in the process that the network was trained on: what the network is told.
  std::vector<int64_t> timestep_map;

  std::vector<double> alphas_cumprod, alphas_cumprod_prev, alphas_cumprod_next;
  std::vector<double> sqrt_alphas_cumprod, sqrt_one_minus_alphas_cumprod,
      log_one_minus_alphas_cumprod;
  std::vector<double> sqrt_recip_alphas_cumprod, sqrt_recipm1_alphas_cumprod;
  /// q(x_{t-1} | x_t, x_0) = N(coef1 x_0 + coef2 x_t, variance). The log variance at index 0, where
  /// the variance is 0, is that of index 1 (of a one-step process: log beta).
  std::vector<double> posterior_variance, posterior_log_variance_clipped;
  std::vector<double> posterior_mean_coef1, posterior_mean_coef2;

  /// The full process of these betas; each must lie in (0, 1).
  explicit DdpmSchedule(std::vector<double> betas);
  DdpmSchedule(const std::string& schedule, int64_t steps);
  /// The process that visits only the kept indices (ascending, of this process) with the same
  /// alphas_cumprod there.
  DdpmSchedule respaced(const std::vector<int64_t>& kept) const;
  DdpmSchedule respaced(const std::string& spacing) const;

  int64_t steps() const { return static_cast<int64_t>(betas.size()); }

 private:
  DdpmSchedule(std::vector<double> betas, std::vector<int64_t> map);
};

}  // namespace gallop::diffusion
