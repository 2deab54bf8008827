#include "gallop/sparse/sparse_loss.h"

#include <algorithm>
#include <utility>

#include "gallop/config/registry.h"

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

at::Tensor SparseLoss::joint_value(const std::vector<const RoutingRecord*>&) const { return {}; }

std::vector<LossTotal> total_losses(const std::vector<RoutingRecord>& records,
                                    const at::Tensor& target_BLH) {
  struct Layers {
    std::vector<const SparseLoss*> losses;
    std::vector<const RoutingRecord*> records;
  };
  std::vector<std::pair<std::string, Layers>> kinds;
  for (const RoutingRecord& record : records) {
    for (const auto& loss : *record.losses) {
      const auto same = [&](const auto& kind) { return kind.first == loss->kind(); };
      auto found = std::find_if(kinds.begin(), kinds.end(), same);
      if (found == kinds.end()) found = kinds.insert(found, {loss->kind(), {}});
      found->second.losses.push_back(loss.get());
      found->second.records.push_back(&record);
    }
  }
  std::vector<LossTotal> totals;
  for (const auto& [kind, layers] : kinds) {
    at::Tensor total = layers.losses[0]->joint_value(layers.records);
    if (!total.defined()) {
      for (size_t i = 0; i < layers.records.size(); ++i) {
        const at::Tensor value = layers.losses[i]->value(*layers.records[i], target_BLH);
        total = total.defined() ? total.add(value) : value;
      }
    }
    totals.push_back({.kind = kind, .value = total, .weight = layers.losses[0]->weight()});
  }
  return totals;
}

}  // namespace gallop::sparse
