#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::training {

/// Turns gradients into steps: a component of category "optimizer".
class Optimizer {
 public:
  static constexpr const char* category = "optimizer";
  struct Args {
    std::vector<nn::Parameter*> parameters;  ///< the trainable ones; they outlive the optimizer
  };
  /// Moving averages that follow the parameters after a step; none where `of` is empty.
  struct Averages {
    std::vector<nn::Parameter*> of;  ///< one for each of Args::parameters, in their order
    double decay = 0;                ///< average <- decay * average + (1 - decay) * parameter
  };
  virtual ~Optimizer() = default;

  /// The learning rate that the schedule's factor multiplies.
  virtual double learning_rate() const = 0;
  struct Step {
    int64_t applied = 1;        ///< the number of this step among the applied ones, from 1
    double factor = 1;          ///< of the schedule
    double gradient_scale = 1;  ///< clipping
    /// Of all gradients together before they are scaled; infinity: not known.
    double gradient_norm = std::numeric_limits<double>::infinity();
    Averages averages;
  };
  /// One step from the gradients times `gradient_scale` at learning rate factor * learning_rate() *
  /// the parameter's lr_scale. Parameters without a gradient stay as they are. The gradients may be
  /// scaled in place: they are used up.
  /// Of a table whose gradient holds rows (nn::Gradient) a step touches those rows alone: the
  /// others keep value and moments, without weight decay. Its average is not written, only what
  /// becomes of it remembered: see settle. Returns nothing, or, where a parameter, its average or
  /// what is remembered of it would become NaN or infinite, which one: nothing has changed then.
  /// That costs another pass over memory only for steps that could be such, by learning rate, eps,
  /// norm and what the last step left.
  virtual std::string take(const Step& step) = 0;
  std::string step(int64_t applied, double factor, double gradient_scale,
                   const Averages& averages) {
    return take({.applied = applied,
                 .factor = factor,
                 .gradient_scale = gradient_scale,
                 .averages = averages});
  }
  std::string step(int64_t applied, double factor, double gradient_scale) {
    return step(applied, factor, gradient_scale, Averages());
  }

  /// Writes the averages of tables whose gradient holds rows, as of the last step, into those of
  /// `averages` (one for each of Args::parameters): before anybody reads or saves them. It reads
  /// and writes each such table once, and changes nothing that the steps go on with.
  virtual void settle(const std::vector<nn::Parameter*>& averages) const { (void)averages; }

  /// What the optimizer remembers, by "<kind>.<parameter name>" ("exp_avg.blocks.0..."): shares
  /// memory with it.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() const = 0;
  /// Copies a state back; throws Error for missing, unknown or misshapen tensors.
  virtual void load_state(std::map<std::string, at::Tensor> state) = 0;
};

/// The parameters an optimizer moves, in the model's order.
std::vector<nn::Parameter*> trainable_parameters(nn::Module& model);

}  // namespace gallop::training
