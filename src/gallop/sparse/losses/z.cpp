#include <ATen/ops/logsumexp.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct ZSettings : config::Fields<ZSettings> {
  double weight = 0;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1e-3 in ST-MoE", config::at_least(0));
  }
};

// mean over tokens of logsumexp(logits)^2: keeps logits small.
const config::Register<SparseLoss, ZSettings> registered{
    "z", "mean square of logsumexp(logits): small logits", "ST-MoE, arXiv 2202.08906",
    [](const ZSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>("z", settings.weight, [](const RoutingRecord& record) {
        return record.logits_BLE.logsumexp(-1).square().mean();
      });
    }};

}  // namespace
}  // namespace gallop::sparse
