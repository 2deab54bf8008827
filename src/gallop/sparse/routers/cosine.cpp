#include <cmath>

#include "gallop/config/registry.h"
#include "gallop/nn/cosine.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

struct CosineSettings : config::Fields<CosineSettings> {
  int64_t projection = 256;
  void fields(config::Visitor& v) override {
    v.field("projection", projection, "width that tokens and experts are compared in",
            config::at_least(1));
  }
};

// logits = cos(P x + b, s_e) exp(min(tau, ln 100)): the size of a token says nothing.
class CosineRouter : public Router {
 public:
  CosineRouter(const CosineSettings& settings, const Args& args)
      : Router(*args.parent, "router"),
        projection_(*this, "projection", args.D, settings.projection),
        experts_(*this, "experts.weight", {args.experts, settings.projection},
                 nn::Init::normal(0.01)),
        tau_(*this, "temperature", {1}, nn::Init::constant(std::log(2.0)), {.decay = false}),
        head_(*this, args) {}

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor factor = tau_->clamp_max(std::log(100.0)).exp();
    return {.logits_BLE = cosines(projection_.forward(x_BLD), *experts_).mul(factor),
            .head_BLH = head_.forward(x_BLD, ctx)};
  }

 private:
  nn::Linear projection_;
  nn::Parameter experts_, tau_;
  TargetHead head_;
};

const config::RegisterKind<Router, CosineRouter, CosineSettings> registered{
    "cosine", "cosine of the projected token and each expert's vector, learned temperature",
    "GMoE, arXiv 2206.04046; Tutel, arXiv 2206.03382"};

}  // namespace
}  // namespace gallop::sparse
