#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/config/registry.h"
#include "gallop/ops/adamw.h"
#include "gallop/training/optimizer.h"

namespace gallop::training {
namespace {

struct AdamWSettings : config::Fields<AdamWSettings> {
  double lr = 1e-4;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double decay = 0;
  void fields(config::Visitor& v) override {
    v.field("lr", lr, "learning rate at factor 1 of the schedule", config::at_least(0));
    v.field("beta1", beta1, "decay of the mean of the gradient, below 1", config::between(0, 1));
    v.field("beta2", beta2, "decay of the mean of its square, below 1", config::between(0, 1));
    v.field("eps", eps, "added to the root of the mean square", config::at_least(0));
    v.field("decay", decay, "decoupled weight decay of the parameters that decay (matrices)",
            config::at_least(0));
  }
  void validate() const override {
    require(beta1 < 1 && beta2 < 1, "beta1 = ", beta1, " and beta2 = ", beta2,
            " must be below 1: the moments would never move");
  }
};

class AdamW : public Optimizer {
 public:
  AdamW(const AdamWSettings& settings, const Args& args) : settings_(settings) {
    for (nn::Parameter* parameter : args.parameters) {
      const at::Tensor value = (**parameter).detach();
      slots_.push_back({parameter, at::zeros_like(value), at::zeros_like(value)});
    }
  }

  double learning_rate() const override { return settings_.lr; }

  using Optimizer::step;
  void step(int64_t applied, double factor, double gradient_scale,
            const Averages& averages) override {
    require(applied >= 1, "applied steps count from 1, not ", applied);
    require(gradient_scale > 0, "a gradient scale of ", gradient_scale, " is not positive");
    require(averages.of.empty() || averages.of.size() == slots_.size(), "there are ",
            averages.of.size(), " averages of ", slots_.size(), " parameters");
    // Parameters that share learning rate and weight decay take a step together.
    std::map<std::pair<double, bool>, std::vector<ops::AdamWTensors>> groups;
    for (size_t i = 0; i < slots_.size(); ++i) {
      const at::Tensor& value = **slots_[i].parameter;
      const at::Tensor average = averages.of.empty() ? at::Tensor() : **averages.of[i];
      if (value.grad().defined()) {
        const nn::Attributes& attributes = slots_[i].parameter->attributes();
        groups[{attributes.lr_scale, attributes.decay}].push_back(
            {value, value.grad(), slots_[i].mean, slots_[i].square, average});
      } else if (average.defined()) {
        const at::NoGradGuard no_grad;
        average.lerp_(value, 1 - averages.decay);
      }
    }
    for (const auto& [key, tensors] : groups) {
      const auto& [lr_scale, decays] = key;
      ops::adamw_step(tensors, {.step = applied,
                                .rate = settings_.lr * factor * lr_scale,
                                .beta1 = settings_.beta1,
                                .beta2 = settings_.beta2,
                                .eps = settings_.eps,
                                .decay = decays ? settings_.decay : 0,
                                .gradient_scale = gradient_scale,
                                .average_decay = averages.decay});
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override {
    std::vector<std::pair<std::string, at::Tensor>> state;
    for (const Slot& slot : slots_) {
      state.emplace_back("exp_avg." + slot.parameter->name(), slot.mean);
      state.emplace_back("exp_avg_sq." + slot.parameter->name(), slot.square);
    }
    return state;
  }

  void load_state(std::map<std::string, at::Tensor> state) override {
    const auto own = this->state();
    std::set<std::string> known;
    std::ostringstream wrong;
    for (const auto& [name, tensor] : own) {
      known.insert(name);
      const auto found = state.find(name);
      if (found == state.end()) {
        wrong << "\n  missing:   " << name;
      } else if (found->second.sizes() != tensor.sizes()) {
        wrong << "\n  misshapen: " << name << ": expected " << shape_text(tensor.sizes())
              << ", found " << shape_text(found->second.sizes());
      }
    }
    for (const auto& [name, tensor] : state) {
      if (!known.contains(name)) wrong << "\n  unknown:   " << name;
    }
    require(wrong.str().empty(), "the optimizer's state does not fit the model:", wrong.str(),
            "\nIs it of another model or optimizer?");
    for (const auto& [name, tensor] : own) tensor.copy_(state.extract(name).mapped());
  }

 private:
  struct Slot {
    nn::Parameter* parameter;
    at::Tensor mean, square;
  };

  AdamWSettings settings_;
  std::vector<Slot> slots_;
};

const config::Register<Optimizer, AdamWSettings> registered{
    "adamw", "Adam with weight decay apart from the gradient",
    "Loshchilov and Hutter, arXiv 1711.05101",
    [](const AdamWSettings& settings, const Optimizer::Args& args) {
      return std::make_unique<AdamW>(settings, args);
    }};

}  // namespace
}  // namespace gallop::training
