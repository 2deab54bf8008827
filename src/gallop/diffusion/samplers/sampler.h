#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "gallop/config/registry.h"
#include "gallop/diffusion/ddpm_objective.h"
#include "gallop/diffusion/flow_objective.h"
#include "gallop/diffusion/network.h"
#include "gallop/diffusion/objective.h"
#include "gallop/diffusion/samplers/trajectory.h"

namespace gallop::diffusion {

/// What every sampler is built from besides its settings: the objective the network was trained on,
/// and the number of steps to take.
struct SamplerArgs {
  std::shared_ptr<const Objective> objective;
  int64_t steps;
};

/// Turns noise into images with a trained network: a component of category "sampler".
class Sampler {
 public:
  static constexpr const char* category = "sampler";
  using Args = SamplerArgs;

  virtual ~Sampler() = default;

  /// The way of standard normal noise [B, C, H, W] to images. `noise_source` gives the noise of
  /// step k = 0, 1, ... and may be empty unless needs_noise(). The trajectory outlives the sampler.
  std::unique_ptr<Trajectory> begin(const at::Tensor& noise_BCHW,
                                    NoiseSource noise_source = {}) const;
  /// Goes that way to its end with one network, without gradients; `on_step` may be empty.
  at::Tensor sample(const Network& model, const at::Tensor& noise_BCHW,
                    const NoiseSource& noise_source = {}, const StepCallback& on_step = {}) const;

  /// How often a sample calls the network.
  virtual int64_t evaluations() const = 0;
  /// Whether steps draw noise.
  virtual bool needs_noise() const { return false; }

 protected:
  virtual std::unique_ptr<Trajectory> start(at::Tensor x_BCHW, NoiseSource noise_source) const = 0;
};

/// Records that a sampler works on a kind of objective, for error messages and choices.
void add_sampler_of_objective(const std::string& objective, const std::string& sampler);
/// The samplers of an objective, by name and sorted.
std::vector<std::string> samplers_of_objective(const std::string& objective);
/// Error: `sampler` does not work on `objective`; lists those that do.
[[noreturn]] void fail_wrong_objective(const std::string& sampler, const Objective& objective);

/// Registers a sampler that works on one kind of objective, from its own source file. `make` gets
/// the settings, the objective and the number of steps.
template <class ObjectiveKind, class Settings>
class RegisterSampler {
 public:
  template <class Make>
  RegisterSampler(const char* kind, const char* objective, const char* summary, const char* paper,
                  Make make)
      : registered_(kind, summary, paper, [kind, make](const Settings& s, const SamplerArgs& args) {
          auto fitting = std::dynamic_pointer_cast<const ObjectiveKind>(args.objective);
          if (!fitting) fail_wrong_objective(kind, *args.objective);
          require(args.steps > 0, "sampler '", kind, "' needs at least one step, not ", args.steps);
          return make(s, std::move(fitting), args.steps);
        }) {
    add_sampler_of_objective(objective, kind);
  }

 private:
  config::Register<Sampler, Settings> registered_;
};

}  // namespace gallop::diffusion
