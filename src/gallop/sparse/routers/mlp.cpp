#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

// z = GELU(W_r x + b_r); logits = W_g z + b_g; head = W_h z + b_h (Expert Race, Fig. 12).
class MlpRouter : public Router {
 public:
  explicit MlpRouter(const Args& args)
      : Router(*args.parent, "router"),
        hidden_(*this, "hidden", args.D, args.D),
        gate_(*this, "gate", args.D, args.experts),
        head_(*this, args) {}

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor z_BLD = hidden_.forward_gelu(x_BLD);
    return {.logits_BLE = gate_.forward(z_BLD), .head_BLH = head_.forward(z_BLD, ctx)};
  }

 private:
  nn::Linear hidden_, gate_;
  TargetHead head_;
};

const config::RegisterKind<Router, MlpRouter> registered{
    "mlp", "two layers of width D with GELU; carries the per-layer target head",
    "Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::sparse
