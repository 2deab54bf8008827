#include <ATen/ops/binary_cross_entropy_with_logits.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct CapacitySettings : config::Fields<CapacitySettings> {
  double weight = 0;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1 in DiffMoE", config::at_least(0));
  }
};

// Binary cross-entropy of the predictor in selection "diffmoe" with the pairs that were taken, a
// mean over all pairs.
const config::Register<SparseLoss, CapacitySettings> registered{
    "capacity", "cross-entropy of predicted with taken pairs, for selection diffmoe",
    "DiffMoE, arXiv 2503.14487", [](const CapacitySettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "capacity", settings.weight,
          [](const RoutingRecord& record) {
            const at::Tensor& logits = record.extra("capacity");
            return at::binary_cross_entropy_with_logits(
                logits, record.kept.mask_BLE().to(logits.scalar_type()));
          },
          std::vector<std::string>{"capacity"});
    }};

}  // namespace
}  // namespace gallop::sparse
