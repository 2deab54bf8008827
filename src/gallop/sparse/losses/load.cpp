#include <ATen/ops/where.h>

#include <cmath>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/losses/load.h"
#include "gallop/sparse/losses/scope.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {

at::Tensor expected_load(const RoutingRecord& record) {
  const at::Tensor& noisy = record.logits_BLE;
  const int64_t k = whole_active(record.layer + ", loss load", record.active);
  const at::Tensor largest = std::get<0>(noisy.topk(k + 1, -1));  // k < E
  const at::Tensor to_stay = largest.narrow(-1, k, 1), to_enter = largest.narrow(-1, k - 1, 1);
  const at::Tensor needed = at::where(record.kept.mask_BLE(), to_stay, to_enter);  // [B, L, E]
  const at::Tensor z = record.extra("clean_logits").sub(needed).div(record.extra("noise_scale"));
  return z.mul(std::sqrt(0.5)).erf().add(1).mul(0.5);
}

namespace {

at::Tensor load(const ScopedLossSettings& settings, const RoutingRecord& record) {
  if (record.active >= static_cast<double>(record.logits_BLE.size(-1)))
    return record.logits_BLE.sum().mul(0);  // all take part
  return squared_variation(settings.sum(record, "load", expected_load(record)));
}

const config::Register<SparseLoss, ScopedLossSettings> registered{
    "load", "squared variation over the experts of the load that new noise would give",
    "Shazeer et al., arXiv 1701.06538", [](const ScopedLossSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "load", settings.weight,
          [settings](const RoutingRecord& record) { return load(settings, record); },
          std::vector<std::string>{"clean_logits", "noise_scale"});
    }};

}  // namespace
}  // namespace gallop::sparse
