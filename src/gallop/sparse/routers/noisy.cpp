#include <ATen/ops/softplus.h>

#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/choice/noise.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

// In training, logits = W x + n (softplus(N x) + 0.01) with n normal: the router learns how much
// noise each token's choice bears. N starts at zero.
class NoisyRouter : public Router {
 public:
  explicit NoisyRouter(const Args& args)
      : Router(*args.parent, "router"),
        gate_(*this, "gate", args.D, args.experts, {.bias = false}),
        noise_(*this, "noise", args.D, args.experts,
               {.bias = false, .weight_init = nn::Init::zeros(), .attributes = {.beside = true}}),
        head_(*this, args) {}

  std::vector<std::string> shows() const override { return {"clean_logits", "noise_scale"}; }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor clean_BLE = gate_.forward(x_BLD);
    if (!ctx.training) return {.logits_BLE = clean_BLE};
    const at::Tensor scale_BLE = at::softplus(noise_.forward(x_BLD)).add(0.01);
    return {.logits_BLE = clean_BLE.add(normal_noise(ctx, name(), clean_BLE).mul(scale_BLE)),
            .head_BLH = head_.forward(x_BLD, ctx),
            .extras = {{"clean_logits", clean_BLE}, {"noise_scale", scale_BLE}}};
  }

 private:
  nn::Linear gate_, noise_;
  TargetHead head_;
};

const config::RegisterKind<Router, NoisyRouter> registered{
    "noisy", "a linear router with learned noise in training; the load loss is made for it",
    "Shazeer et al., arXiv 1701.06538"};

}  // namespace
}  // namespace gallop::sparse
