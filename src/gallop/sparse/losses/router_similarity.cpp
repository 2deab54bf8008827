#include "gallop/sparse/losses/router_similarity.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/losses/scope.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {

namespace {

// How often each two experts fire together.
at::Tensor joint_counts(const at::Tensor& mask_TE) {
  const at::NoGradGuard no_grad;
  const at::Tensor mask = mask_TE.to(at::kDouble);  // counts up to millions stay exact
  return mask.mT().matmul(mask);
}

at::Tensor weights_from(const at::Tensor& counts_EE) {
  const at::NoGradGuard no_grad;
  const auto E = static_cast<double>(counts_EE.size(-1));
  const at::Tensor own = counts_EE.diagonal(0, -2, -1).diag_embed();
  const at::Tensor shared = counts_EE.sub(own);
  const auto normalised = [](const at::Tensor& part, double factor) {
    const at::Tensor sum = part.sum({-2, -1}, /*keepdim=*/true);
    return at::where(sum.gt(0), part.mul(factor).div(sum), at::zeros_like(part));
  };
  return normalised(own, E).add(normalised(shared, E * E - E));
}

at::Tensor weighted_similarity(const at::Tensor& logits_TE, const at::Tensor& weights_EE) {
  const at::Tensor P_TE = logits_TE.softmax(-1);
  return P_TE.mT()
      .matmul(P_TE)
      .mul(weights_EE.to(P_TE.scalar_type()))
      .sum({-2, -1})
      .div(logits_TE.size(-2));
}

}  // namespace

at::Tensor similarity_weights(const at::Tensor& mask_TE) {
  return weights_from(joint_counts(mask_TE));
}

at::Tensor router_similarity(const at::Tensor& logits_TE, const at::Tensor& mask_TE) {
  return weighted_similarity(logits_TE, similarity_weights(mask_TE));
}

namespace {

at::Tensor value(const ScopedLossSettings& settings, const RoutingRecord& record) {
  const at::Tensor counts_GEE = settings.over_step(
      record, "router_similarity", joint_counts(settings.groups(record.kept.mask_BLE())));
  return weighted_similarity(settings.groups(record.logits_BLE), weights_from(counts_GEE)).mean();
}

const config::Register<SparseLoss, ScopedLossSettings> registered{
    "router_similarity",
    "weighs expert pairs by how often they fire together; balances the load (weight 1e-4 in the "
    "paper's code)",
    "Expert Race, arXiv 2503.16057", [](const ScopedLossSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "router_similarity", settings.weight,
          [settings](const RoutingRecord& record) { return value(settings, record); });
    }};

}  // namespace
}  // namespace gallop::sparse
