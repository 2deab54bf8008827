#include <optional>

#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/router.h"

namespace gallop::sparse {
namespace {

// z = GELU(W_r x + b_r); logits = W_g z + b_g; head = W_h z + b_h (Expert Race, Fig. 12).
class MlpRouter : public Router {
 public:
  explicit MlpRouter(const Args& args)
      : Router(*args.parent, "router"),
        hidden_(*this, "hidden", args.D, args.D),
        gate_(*this, "gate", args.D, args.experts) {
    if (args.target_width > 0) {
      target_.emplace(*this, "target", args.D, args.target_width,
                      nn::LinearOptions{.attributes = {.auxiliary = true}});
    }
  }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor z_BLD = hidden_.forward_gelu(x_BLD);
    Routed routed{.logits_BLE = gate_.forward(z_BLD)};
    if (target_ && ctx.training) routed.head_BLH = target_->forward(z_BLD);
    return routed;
  }

 private:
  nn::Linear hidden_, gate_;
  std::optional<nn::Linear> target_;
};

const config::Register<Router, config::NoSettings> registered{
    "mlp", "two layers of width D with GELU; carries the per-layer target head",
    "Expert Race, arXiv 2503.16057",
    [](const auto&, const Router::Args& args) { return std::make_unique<MlpRouter>(args); }};

}  // namespace
}  // namespace gallop::sparse
