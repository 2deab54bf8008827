#include "tests/support/routing.h"

#include "gallop/sparse/choice/weighting.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "tests/support/weights.h"

namespace gallop::testing {

Selector::Selector(const std::string& toml, at::IntArrayRef shape_BLE, double active)
    : selection_(make<sparse::Selection>(toml, {.parent = &parent_,
                                                .experts = shape_BLE[2],
                                                .tokens = shape_BLE[1],
                                                .active = active})) {
  parent_.materialize(/*seed=*/0);
}

sparse::Scores scores_of(const std::string& gate, const at::Tensor& logits_BLE) {
  return make<sparse::Gate>("kind = \"" + gate + "\"", {})->scores({logits_BLE});
}

at::Tensor weights_of(const std::string& toml, const sparse::Scores& scores,
                      const sparse::Selected& selected) {
  return make<sparse::Weighting>(toml, {})->weights(scores, selected).mul(selected.mask_BLE());
}

sparse::RoutingRecord record_of(const sparse::Scores& scores, const sparse::Selected& selected,
                                double active, const std::string& weighting) {
  sparse::RoutingRecord record;
  record.layer = "layer";
  record.active = active;
  record.logits_BLE = scores.logits_BLE;
  record.gate_BLE = scores.gate_BLE;
  record.kept = sparse::keep(selected.pairs,
                             make<sparse::Weighting>(weighting, {})->weights(scores, selected));
  record.kept.before_drops = selected.before_drops;
  return record;
}

at::Tensor loss_of(const std::string& kind, const sparse::RoutingRecord& record,
                   const std::string& toml) {
  nn::Module layer;  // of a loss that keeps a state there
  return make<sparse::SparseLoss>("kind = \"" + kind + "\"\nweight = 1\n" + toml, {.layer = &layer})
      ->value(record, {});
}

}  // namespace gallop::testing
