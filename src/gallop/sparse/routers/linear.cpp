#include <optional>

#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/router.h"

namespace gallop::sparse {
namespace {

struct LinearRouterSettings : config::Fields<LinearRouterSettings> {
  bool bias = false;
  void fields(config::Visitor& v) override { v.field("bias", bias, "add a bias to the logits"); }
};

// logits = W x; a head, if a loss asks for one, reads the token itself.
class LinearRouter : public Router {
 public:
  LinearRouter(const LinearRouterSettings& settings, const Args& args)
      : Router(*args.parent, "router"),
        gate_(*this, "gate", args.D, args.experts, {.bias = settings.bias}) {
    if (args.target_width > 0) {
      target_.emplace(*this, "target", args.D, args.target_width,
                      nn::LinearOptions{.attributes = {.auxiliary = true}});
    }
  }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    Routed routed{.logits_BLE = gate_.forward(x_BLD)};
    if (target_ && ctx.training) routed.head_BLH = target_->forward(x_BLD);
    return routed;
  }

 private:
  nn::Linear gate_;
  std::optional<nn::Linear> target_;
};

const config::Register<Router, LinearRouterSettings> registered{
    "linear", "one matrix from a token to its logits", "Shazeer et al., arXiv 1701.06538",
    [](const LinearRouterSettings& settings, const Router::Args& args) {
      return std::make_unique<LinearRouter>(settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
