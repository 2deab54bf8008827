#include "gallop/sparse/losses/sparse_loss.h"

#include <algorithm>
#include <utility>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/shown.h"

namespace gallop::sparse {

void SparseLossesConfig::fields(config::Visitor& v) {
  for (const config::ComponentInfo* info : config::components_of(SparseLoss::category)) {
    auto [entry, added] =
        kinds.try_emplace(info->kind, config::Component(SparseLoss::category, info->kind));
    v.table(info->kind.c_str(), entry->second.settings(), info->summary.c_str());
  }
}

std::vector<std::unique_ptr<SparseLoss>> make_losses(const SparseLossesConfig& config,
                                                     const SparseLoss::Args& args) {
  std::vector<std::unique_ptr<SparseLoss>> losses;
  for (const auto& [kind, component] : config.kinds) {
    auto loss = config::make<SparseLoss>(component, args);
    if (loss->weight() != 0) losses.push_back(std::move(loss));
  }
  return losses;
}

void require_shown(const std::string& layer, const std::vector<std::unique_ptr<SparseLoss>>& losses,
                   const std::vector<std::string>& shown, const std::string& by) {
  for (const auto& loss : losses) {
    require_shown(layer, "the loss '" + loss->kind() + "'",
                  {.needed = loss->needs(), .shown = shown, .by = by},
                  "leave the loss out, or choose the part that it is made for");
  }
}

std::vector<nn::Need> needs_of(const std::vector<std::unique_ptr<SparseLoss>>& losses) {
  std::vector<nn::Need> needs;
  for (const auto& loss : losses) {
    for (const nn::Given what : loss->needs_given()) {
      needs.push_back({.what = what, .by = "the loss '" + loss->kind() + "'"});
    }
  }
  return needs;
}

at::Tensor SparseLoss::joint_value(const std::vector<const RoutingRecord*>&) const { return {}; }

void SparseLoss::complete(const std::vector<const RoutingRecord*>&, LossTotal&) const {}

std::vector<LossTotal> total_losses(const std::vector<RoutingRecord>& records,
                                    const at::Tensor& target_BLH) {
  // Layers that add up: heads and experts, or layers with weights of their own, do not.
  struct Layers {
    std::string kind;
    Choice choice;
    double weight;
    std::vector<const SparseLoss*> losses;
    std::vector<const RoutingRecord*> records;
  };
  std::vector<Layers> kinds;
  for (const RoutingRecord& record : records) {
    for (const auto& loss : *record.losses) {
      const auto same = [&](const Layers& layers) {
        return layers.kind == loss->kind() && layers.choice == record.choice &&
               layers.weight == loss->weight();
      };
      auto found = std::find_if(kinds.begin(), kinds.end(), same);
      if (found == kinds.end()) {
        found = kinds.insert(found, {loss->kind(), record.choice, loss->weight(), {}, {}});
      }
      found->losses.push_back(loss.get());
      found->records.push_back(&record);
    }
  }
  std::vector<LossTotal> totals;
  for (const Layers& layers : kinds) {
    at::Tensor total = layers.losses[0]->joint_value(layers.records);
    if (!total.defined()) {
      for (size_t i = 0; i < layers.records.size(); ++i) {
        const at::Tensor value = layers.losses[i]->value(*layers.records[i], target_BLH);
        total = total.defined() ? total.add(value) : value;
      }
    }
    // A kind that reads heads and experts alike has two names.
    const bool shared = std::any_of(kinds.begin(), kinds.end(), [&](const Layers& other) {
      return other.kind == layers.kind && other.choice != layers.choice;
    });
    const bool prefixed = shared && layers.choice != Choice::expert;
    totals.push_back(
        {.kind = (prefixed ? plural_of(layers.choice) + std::string("_") : "") + layers.kind,
         .value = total,
         .weight = layers.weight});
    layers.losses[0]->complete(layers.records, totals.back());
  }
  return totals;
}

}  // namespace gallop::sparse
