#include <ATen/ops/silu.h>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

// logits = W silu(timestep embedding) + b: all tokens of a sample share one route.
class TimestepRouter : public Router {
 public:
  explicit TimestepRouter(const Args& args)
      : Router(*args.parent, "router"),
        gate_(*this, "gate", args.D, args.experts, {.attributes = {.per_sample = true}}),
        head_(*this, args) {}

  std::vector<nn::Need> needs() const override {
    return {{.what = nn::Given::time, .by = "the router 'timestep'"}};
  }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    require(ctx.time_embedding_BD.defined(), name(),
            ": a timestep router needs a model that embeds a timestep");
    const at::Tensor logits_BE = gate_.forward(at::silu(ctx.time_embedding_BD));
    return {.logits_BLE = logits_BE.unsqueeze(1).expand({-1, x_BLD.size(1), -1}).contiguous(),
            .head_BLH = head_.forward(x_BLD, ctx)};
  }

 private:
  nn::Linear gate_;
  TargetHead head_;
};

const config::RegisterKind<Router, TimestepRouter> registered{
    "timestep", "the noise level alone chooses, for all tokens of a sample",
    "Switch-DiT, arXiv 2403.09176"};

}  // namespace
}  // namespace gallop::sparse
