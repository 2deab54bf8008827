#include <ATen/core/grad_mode.h>

#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/losses/scope.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct BalanceSettings : ScopedLossSettings {
  std::string count = "all";
  void fields(config::Visitor& v) override {
    ScopedLossSettings::fields(v);
    v.field("count", count, "choices that make up the load: all of a token, or its first",
            {"all", "first"});
  }
  std::unique_ptr<Struct> clone() const override {
    return std::make_unique<BalanceSettings>(*this);
  }
};

at::Tensor first_choices(const at::Tensor& logits_BLE) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits_TE = logits_BLE.reshape({-1, logits_BLE.size(-1)});
  return ops::topk_mask(logits_TE, 1).mask_RN.reshape(logits_BLE.sizes());
}

// E sum_e f_e P_e: f_e the share of the choices that fell on e, before a capacity dropped any, P_e
// the mean probability. 1 at uniform routing.
at::Tensor balance(const BalanceSettings& settings, const RoutingRecord& record) {
  const at::Tensor& logits = record.logits_BLE;
  const at::Tensor chosen_BLE =
      settings.count == "all" ? record.kept.chosen().mask_BLE() : first_choices(logits);
  const at::Tensor count_GE = settings.sum(record, "balance", chosen_BLE);
  const at::Tensor total_G1 = count_GE.sum(1, /*keepdim=*/true).clamp_min(1);  // nothing chosen: 0
  const at::Tensor share_GE = count_GE.to(at::kDouble).div(total_G1).to(logits.scalar_type());
  const at::Tensor mean_GE = settings.groups(logits.softmax(-1)).mean(1);
  return share_GE.mul(mean_GE).sum(1).mean().mul(logits.size(-1));
}

const config::Register<SparseLoss, BalanceSettings> registered{
    "balance", "E sum_e (share of the choices) (mean probability): even loads",
    "GShard, arXiv 2006.16668; Switch Transformer, arXiv 2101.03961",
    [](const BalanceSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "balance", settings.weight,
          [settings](const RoutingRecord& record) { return balance(settings, record); });
    }};

}  // namespace
}  // namespace gallop::sparse
