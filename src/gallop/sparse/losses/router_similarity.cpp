#include "gallop/sparse/losses/router_similarity.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/sparse_loss.h"

namespace gallop::sparse {

at::Tensor similarity_weights(const at::Tensor& mask_TE) {
  const at::NoGradGuard no_grad;
  const auto E = static_cast<double>(mask_TE.size(1));
  const at::Tensor mask = mask_TE.to(at::kDouble);  // counts up to millions stay exact
  const at::Tensor together_EE = mask.t().matmul(mask);
  const at::Tensor own = together_EE.diagonal().diag_embed();
  const at::Tensor shared = together_EE.sub(own);
  const auto normalised = [](const at::Tensor& part, double factor) {
    const at::Tensor sum = part.sum();
    return at::where(sum.gt(0), part.mul(factor).div(sum), at::zeros_like(part));
  };
  return normalised(own, E).add(normalised(shared, E * E - E));
}

at::Tensor router_similarity(const at::Tensor& logits_TE, const at::Tensor& mask_TE) {
  const at::Tensor P_TE = logits_TE.softmax(1);
  const at::Tensor similarity_EE = P_TE.t().matmul(P_TE);
  return similarity_EE.mul(similarity_weights(mask_TE).to(P_TE.scalar_type()))
      .sum()
      .div(logits_TE.size(0));
}

namespace {

struct RouterSimilaritySettings : config::Fields<RouterSimilaritySettings> {
  double weight = 0;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1e-4 in the paper's public code",
            config::at_least(0));
  }
};

class RouterSimilarity : public SparseLoss {
 public:
  explicit RouterSimilarity(const RouterSimilaritySettings& settings) : weight_(settings.weight) {}
  std::string kind() const override { return "router_similarity"; }
  double weight() const override { return weight_; }
  at::Tensor value(const RoutingRecord& record, const at::Tensor&) const override {
    const int64_t E = record.logits_BLE.size(-1);
    return router_similarity(record.logits_BLE.reshape({-1, E}), record.mask_BLE.reshape({-1, E}));
  }

 private:
  double weight_;
};

const config::Register<SparseLoss, RouterSimilaritySettings> registered{
    "router_similarity", "weighs expert pairs by how often they fire together; balances the load",
    "Expert Race, arXiv 2503.16057", [](const RouterSimilaritySettings& settings, const auto&) {
      return std::make_unique<RouterSimilarity>(settings);
    }};

}  // namespace
}  // namespace gallop::sparse
