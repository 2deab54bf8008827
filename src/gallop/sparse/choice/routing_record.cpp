#include "gallop/sparse/choice/routing_record.h"

#include "gallop/base/error.h"

namespace gallop::sparse {

const char* plural_of(Choice choice) {
  switch (choice) {
    case Choice::head:
      return "heads";
    case Choice::depth:
      return "depths";
    case Choice::mask:
      return "masks";
    case Choice::slot:
      return "slots";
    default:
      return "experts";
  }
}

const at::Tensor& RoutingRecord::extra(const std::string& wanted) const {
  const auto found = extras.find(wanted);
  require(found != extras.end(), layer, ": a loss needs ", wanted,
          ", which no part of this layer shows; choose the router, gate or selection that the loss "
          "is made for");
  return found->second;
}

void add_record(const nn::ForwardContext& ctx, const at::Tensor& x_BLD, RoutingRecord record) {
  if (ctx.routing == nullptr) return;
  // For losses: beyond a layer they would double what a forward at inference holds.
  if (ctx.training) record.x_BLD = x_BLD;
  record.label_B = ctx.label_B;
  record.timestep_B = ctx.timestep_B;
  ctx.routing->push_back(std::move(record));
}

void require_finite_scores(const std::vector<RoutingRecord>& records) {
  for (const RoutingRecord& record : records) {
    const at::Tensor bad = record.logits_BLE.isfinite().logical_not();
    const auto count = bad.sum().item<int64_t>();
    require(count == 0, record.layer, ": ", count, " of the router's ", bad.numel(),
            " scores are NaN or infinite; look at the learning rate, or at the weights of this "
            "layer and of those before it");
  }
}

}  // namespace gallop::sparse
