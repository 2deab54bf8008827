#include "gallop/nn/linear.h"
#include "gallop/config/registry.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

struct LinearRouterSettings : config::Fields<LinearRouterSettings> {
  bool bias = false, frozen = false;
  void fields(config::Visitor& v) override {
    v.field("bias", bias, "add a bias to the logits");
    v.field("frozen", frozen, "keep the random first values: only the tokens move (SMoE-Dropout)");
  }
};

// logits = W x; a head, if a loss asks for one, reads the token itself.
class LinearRouter : public Router {
 public:
  LinearRouter(const LinearRouterSettings& settings, const Args& args)
      : Router(*args.parent, "router"),
        gate_(*this, "gate", args.D, args.experts,
              {.bias = settings.bias, .attributes = {.frozen = settings.frozen}}),
        head_(*this, args) {}

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    return {.logits_BLE = gate_.forward(x_BLD), .head_BLH = head_.forward(x_BLD, ctx)};
  }

 private:
  nn::Linear gate_;
  TargetHead head_;
};

const config::RegisterKind<Router, LinearRouter, LinearRouterSettings> registered{
    "linear", "one matrix from a token to its logits", "Shazeer et al., arXiv 1701.06538"};

}  // namespace
}  // namespace gallop::sparse
