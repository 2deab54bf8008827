#include "gallop/config/registry.h"
#include "gallop/nn/cosine.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

// logits = cos(x, p_e), with the identity gate also the weights.
class PrototypeRouter : public Router {
 public:
  explicit PrototypeRouter(const Args& args)
      : Router(*args.parent, "router"),
        prototypes_(*this, "prototypes.weight", {args.experts, args.D}, nn::Init::normal(0.02)),
        head_(*this, args) {}

  std::vector<std::string> shows() const override { return {"prototypes"}; }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    return {.logits_BLE = cosines(x_BLD, *prototypes_),
            .head_BLH = head_.forward(x_BLD, ctx),
            .extras = {{"prototypes", *prototypes_}}};
  }

 private:
  nn::Parameter prototypes_;
  TargetHead head_;
};

const config::RegisterKind<Router, PrototypeRouter> registered{
    "prototype",
    "cosine of the token and each expert's prototype; the contrastive loss is made for it",
    "ProMoE, arXiv 2510.24711"};

}  // namespace
}  // namespace gallop::sparse
