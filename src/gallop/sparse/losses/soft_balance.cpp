#include "gallop/config/registry.h"
#include "gallop/sparse/losses/scope.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

// E sum_e mean(w_e) mean(p_e), the balance loss with combine weights in place of counts.
at::Tensor soft_balance(const ScopedLossSettings& settings, const RoutingRecord& record) {
  const at::Tensor weight_GE = settings.mean(record, "soft_balance", record.kept.weights_BLE());
  const at::Tensor mean_GE = settings.groups(record.logits_BLE.softmax(-1)).mean(1);
  return weight_GE.mul(mean_GE).sum(1).mean().mul(record.logits_BLE.size(-1));
}

const config::Register<SparseLoss, ScopedLossSettings> registered{
    "soft_balance", "E sum_e (mean combine weight) (mean probability)", "DynMoLE, arXiv 2504.00661",
    [](const ScopedLossSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "soft_balance", settings.weight,
          [settings](const RoutingRecord& record) { return soft_balance(settings, record); });
    }};

}  // namespace
}  // namespace gallop::sparse
