#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <variant>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/config/registry.h"
#include "gallop/ops/adamw.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "gallop/training/optimizers/adamw_table.h"

namespace gallop::training {
namespace {

struct AdamWSettings : config::Fields<AdamWSettings> {
  double lr = 1e-4;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double decay = 0;
  void fields(config::Visitor& v) override {
    v.effect(config::Effect::free);  // the moments keep their meaning
    v.field("lr", lr, "learning rate at factor 1 of the schedule", config::at_least(0));
    v.field("beta1", beta1, "decay of the mean of the gradient, below 1", config::between(0, 1));
    v.field("beta2", beta2, "decay of the mean of its square, below 1", config::between(0, 1));
    v.field("eps", eps, "added to the root of the mean square, above 0", config::positive());
    v.field("decay", decay, "decoupled weight decay of the parameters that decay (matrices)",
            config::at_least(0));
  }
  void validate() const override {
    require(beta1 < 1 && beta2 < 1, "beta1 = ", beta1, " and beta2 = ", beta2,
            " must be below 1: the moments would never move");
    require(static_cast<float>(eps) > 0, "eps = ", eps,
            " is 0 in float32: where gradients are 0 a step would divide 0 by it");
    require(lr * decay <= 1, "decay = ", decay, " at lr = ", lr, " takes ", lr * decay,
            " of a weight in every step, more than all of it: decay must be at most 1 / lr");
  }
};

class AdamW : public Optimizer {
 public:
  AdamW(const AdamWSettings& settings, const Args& args) : settings_(settings) {
    for (nn::Parameter* parameter : args.parameters) {
      if (parameter->has_row_gradient()) {
        slots_.emplace_back(AdamWTable(*parameter));
        has_tables_ = true;
        continue;
      }
      const at::Tensor value = (**parameter).detach();
      slots_.emplace_back(Slot{parameter, at::zeros_like(value), at::zeros_like(value)});
    }
  }

  double learning_rate() const override { return settings_.lr; }

  std::string take(const Step& step) override {
    const auto& [applied, factor, gradient_scale, gradient_norm, averages] = step;
    require(applied >= 1, "applied steps count from 1, not ", applied);
    require(gradient_scale > 0, "a gradient scale of ", gradient_scale, " is not positive");
    require(averages.of.empty() || averages.of.size() == slots_.size(), "there are ",
            averages.of.size(), " averages of ", slots_.size(), " parameters");
    const auto [groups, idle, tables] = sort(averages);
    const bool averaged = !averages.of.empty();
    const auto numbers = [&](const Key& key) {
      const auto& [lr_scale, decays] = key;
      return ops::AdamWStep{.step = applied,
                            .rate = settings_.lr * factor * lr_scale,
                            .beta1 = settings_.beta1,
                            .beta2 = settings_.beta2,
                            .eps = settings_.eps,
                            .decay = decays ? settings_.decay : 0,
                            .gradient_scale = gradient_scale,
                            .average_decay = averages.decay};
    };
    ops::AdamWBounds expected = bounds_;
    for (const auto& [key, group] : groups) {
      expected.cover(ops::bounds_after(bounds_, numbers(key), gradient_norm));
    }
    if (!expected.finite()) {
      expected = ops::AdamWBounds::of_nothing();
      for (const ops::AdamWTensors& tensors : idle) expected.cover(ops::bounds_of(tensors));
      bounds_ = expected;  // of those that stay
      for (const auto& [key, group] : groups) {
        for (size_t i = 0; i < group.tensors.size(); ++i) {
          const auto found = ops::try_adamw_step(group.tensors[i], numbers(key));
          if (!found.finite()) {
            bounds_ = ops::AdamWBounds();
            return group.names[i];
          }
          expected.cover(found);
        }
      }
    }
    for (const auto& [table, key, gradient] : tables) {
      if (!table->refuses(gradient, numbers(key), gradient_norm, clock())) continue;
      bounds_ = ops::AdamWBounds();
      return table->parameter().name();
    }
    ops::AdamWBounds found = idle.empty() ? ops::AdamWBounds::of_nothing() : bounds_;
    for (const auto& [key, group] : groups) {
      found.cover(ops::adamw_step(group.tensors, numbers(key)).value_or(expected));
    }
    const at::NoGradGuard no_grad;
    for (const ops::AdamWTensors& tensors : idle) {
      if (tensors.average.defined()) tensors.average.lerp_(tensors.value, 1 - averages.decay);
    }
    bounds_ = found;
    for (const auto& [table, key, gradient] : tables) {
      table->step(gradient, numbers(key), gradient_norm, clock(), averaged);
    }
    if (averaged) clock_.fill_(ops::clock_after(clock(), averages.decay));
    require(found.finite(), "AdamW: step ", applied,
            " left weights or moments that are NaN or infinite, which its arithmetic excludes: "
            "something else wrote to them, or memory is damaged; go on from the last checkpoint");
    return {};
  }

  void settle(const std::vector<nn::Parameter*>& averages) const override {
    require(averages.size() == slots_.size(), "there are ", averages.size(), " averages of ",
            slots_.size(), " parameters");
    for (size_t i = 0; i < slots_.size(); ++i) {
      const auto* table = std::get_if<AdamWTable>(&slots_[i]);
      if (table != nullptr) table->write_average(clock(), (**averages[i]).detach());
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override {
    std::vector<std::pair<std::string, at::Tensor>> state;
    for (const auto& any : slots_) {
      if (const auto* table = std::get_if<AdamWTable>(&any)) {
        for (auto& named : table->state()) state.push_back(std::move(named));
        continue;
      }
      const Slot& slot = std::get<Slot>(any);
      state.emplace_back("exp_avg." + slot.parameter->name(), slot.mean);
      state.emplace_back("exp_avg_sq." + slot.parameter->name(), slot.square);
    }
    if (has_tables_) state.emplace_back("average_clock", clock_);
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
    bounds_ = ops::AdamWBounds();
    for (auto& slot : slots_) {
      if (auto* table = std::get_if<AdamWTable>(&slot)) table->forget_bounds();
    }
  }

 private:
  struct Slot {
    nn::Parameter* parameter;
    at::Tensor mean, square;
  };

  // Parameters that share learning rate and weight decay take a step together.
  using Key = std::pair<double, bool>;
  struct Group {
    std::vector<ops::AdamWTensors> tensors;
    std::vector<std::string> names;
  };
  // Tables take it one by one.
  struct TableStep {
    AdamWTable* table;
    Key key;
    RowGradient gradient;
  };
  struct Sorted {
    std::map<Key, Group> groups;
    std::vector<ops::AdamWTensors> idle;  // without a gradient
    std::vector<TableStep> tables;        // of which rows were looked up
  };

  static Key key_of(const nn::Parameter& parameter) {
    return {parameter.attributes().lr_scale, parameter.attributes().decay};
  }

  Sorted sort(const Averages& averages) {
    Sorted sorted;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (auto* table = std::get_if<AdamWTable>(&slots_[i])) {
        RowGradient gradient = row_gradient(table->parameter());
        if (!gradient.rows_U.defined() || gradient.rows_U.numel() == 0) continue;
        sorted.tables.push_back({table, key_of(table->parameter()), std::move(gradient)});
        continue;
      }
      const auto& [parameter, mean, square] = std::get<Slot>(slots_[i]);
      const at::Tensor& value = **parameter;
      const at::Tensor average = averages.of.empty() ? at::Tensor() : **averages.of[i];
      const ops::AdamWTensors tensors{value, dense_gradient(*parameter), mean, square, average};
      if (!tensors.gradient.defined()) {
        sorted.idle.push_back(tensors);
        continue;
      }
      Group& group = sorted.groups[key_of(*parameter)];
      group.tensors.push_back(tensors);
      group.names.push_back(parameter->name());
    }
    return sorted;
  }

  double clock() const { return clock_.item<double>(); }

  AdamWSettings settings_;
  std::vector<std::variant<Slot, AdamWTable>> slots_;  // one a parameter
  bool has_tables_ = false;
  at::Tensor clock_ = at::zeros({}, at::kDouble);  // of the tables' averages
  ops::AdamWBounds bounds_;                        // of what the last step left
};

const config::RegisterKind<Optimizer, AdamW, AdamWSettings> registered{
    "adamw", "Adam with weight decay apart from the gradient",
    "Loshchilov and Hutter, arXiv 1711.05101"};

}  // namespace
}  // namespace gallop::training
