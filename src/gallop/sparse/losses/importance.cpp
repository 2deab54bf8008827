#include "gallop/config/registry.h"
#include "gallop/sparse/losses/scope.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

const config::Register<SparseLoss, ScopedLossSettings> registered{
    "importance", "squared variation over the experts of the sum of their combine weights",
    "Shazeer et al., arXiv 1701.06538", [](const ScopedLossSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "importance", settings.weight, [settings](const RoutingRecord& record) {
            return squared_variation(settings.sum(record, "importance", record.kept.weights_BLE()));
          });
    }};

}  // namespace
}  // namespace gallop::sparse
