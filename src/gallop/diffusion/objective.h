#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace gallop::diffusion {

/// A batch with noise added, and what the network is asked about it.
struct Noised {
  at::Tensor clean_BCHW, noise_BCHW, t_B;  ///< what it was made of
  at::Tensor x_BCHW;                       ///< the network's input
  at::Tensor model_time_B;                 ///< the time as the network is told it
  at::Tensor target_BCHW;                  ///< what the network's image channels should put out
};

/// Per-sample losses [B]: the one to minimise, and its named parts for the log ("mse", "vb").
struct Losses {
  at::Tensor main_B;
  std::vector<std::pair<std::string, at::Tensor>> parts;
};

/// How images are noised in training and what the network learns of it: a component of category
/// "objective", of kind "ddpm" (DdpmObjective) or "flow" (FlowObjective). Stateless: everything a
/// loss depends on is in its arguments.
class Objective {
 public:
  static constexpr const char* category = "objective";
  struct Args {};

  virtual ~Objective() = default;
  /// The registered name.
  virtual const char* kind() const = 0;

  /// How many channels the network must put out for images of `channels`.
  virtual int64_t output_channels(int64_t channels) const = 0;

  /// Training times of `count` samples [count]; sample i uses uniform(i), a number in [0, 1).
  virtual at::Tensor draw_time(int64_t count,
                               const std::function<double(int64_t)>& uniform) const = 0;
  /// Times spread evenly over the whole process in the order of the samples, for a held-out loss.
  virtual at::Tensor spread_time(int64_t count) const = 0;

  /// Adds noise. `t_B` as from draw_time, `noise_BCHW` standard normal.
  virtual Noised corrupt(const at::Tensor& clean_BCHW, const at::Tensor& t_B,
                         const at::Tensor& noise_BCHW) const = 0;
  /// Losses of a network output [B, output_channels, H, W] for that input; differentiable.
  virtual Losses loss(const at::Tensor& output, const Noised& noised) const = 0;

  /// Position in the process of a time that the network is told: 0 = data, 1 = pure noise.
  virtual double noise_level(double model_time) const = 0;
};

}  // namespace gallop::diffusion
