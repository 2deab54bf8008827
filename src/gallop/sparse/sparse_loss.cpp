#include "gallop/sparse/sparse_loss.h"

#include <algorithm>

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

std::vector<LossTotal> total_losses(const std::vector<RoutingRecord>& records,
                                    const at::Tensor& target_BLH) {
  std::vector<LossTotal> totals;
  for (const RoutingRecord& record : records) {
    for (const auto& loss : *record.losses) {
      const at::Tensor value = loss->value(record, target_BLH);
      const auto same = [&](const LossTotal& total) { return total.kind == loss->kind(); };
      const auto found = std::find_if(totals.begin(), totals.end(), same);
      if (found == totals.end()) {
        totals.push_back({.kind = loss->kind(), .value = value, .weight = loss->weight()});
      } else {
        found->value = found->value.add(value);
      }
    }
  }
  return totals;
}

}  // namespace gallop::sparse
