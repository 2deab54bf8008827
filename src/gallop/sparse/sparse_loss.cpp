#include "gallop/sparse/sparse_loss.h"

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

}  // namespace gallop::sparse
