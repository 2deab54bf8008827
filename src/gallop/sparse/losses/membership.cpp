#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct MembershipSettings : config::Fields<MembershipSettings> {
  double weight = 0;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1e-3 in Mixture-of-Recursions",
            config::at_least(0));
  }
};

// Teaches scores to be positive exactly where their pair was kept, so that sigmoid(score) >= 1/2
// could decide without the other tokens. In nested sets, only those kept by the one before count.
at::Tensor membership(const RoutingRecord& record) {
  const at::Tensor& mask_BLE = record.kept.mask_BLE();
  at::Tensor total = at::zeros({}, record.logits_BLE.options());
  for (int64_t e = 0; e < mask_BLE.size(-1); ++e) {
    const at::Tensor member_BL = mask_BLE.select(-1, e);
    const at::Tensor candidate_BL = e == 0 ? at::ones_like(member_BL) : mask_BLE.select(-1, e - 1);
    const at::Tensor score_N = record.logits_BLE.select(-1, e).masked_select(candidate_BL);
    const at::Tensor member_N =
        member_BL.masked_select(candidate_BL).to(record.logits_BLE.scalar_type());
    total = total.add(at::binary_cross_entropy_with_logits(score_N, member_N));
  }
  return total;
}

const config::Register<SparseLoss, MembershipSettings> registered{
    "membership", "cross entropy of scores against what was kept, over nested sets",
    "Mixture-of-Recursions, arXiv 2507.10524", [](const MembershipSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>("membership", settings.weight, membership);
    }};

}  // namespace
}  // namespace gallop::sparse
