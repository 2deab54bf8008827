#include <ATen/core/grad_mode.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/router.h"
#include "gallop/sparse/choice/target_head.h"
#include "gallop/sparse/layers/experts.h"

namespace gallop::sparse {
namespace {

// logits = x . mean of the expert's first-layer rows, without a parameter of its own: the experts
// of a regrouped dense layer choose by their own keys. They carry no gradient.
class AvgKRouter : public Router {
 public:
  explicit AvgKRouter(const Args& args) : Router(*args.parent, "router"), head_(*this, args) {}

  void bind(const Experts& experts) override { experts_ = &experts; }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    Routed routed{.head_BLH = head_.forward(x_BLD, ctx)};
    const at::NoGradGuard no_grad;
    routed.logits_BLE = x_BLD.matmul(experts_->keys_ED().t());
    return routed;
  }

 private:
  const Experts* experts_ = nullptr;
  TargetHead head_;
};

const config::RegisterKind<Router, AvgKRouter> registered{
    "avg_k", "the mean of each expert's own first-layer rows; no parameters, no gradient",
    "EMoE, arXiv 2310.10908"};

}  // namespace
}  // namespace gallop::sparse
