#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {

TargetHead::TargetHead(nn::Module& router, const Router::Args& args) {
  if (args.target_width == 0) return;
  linear_.emplace(router, "target", args.D, args.target_width,
                  nn::LinearOptions{.attributes = {.auxiliary = true, .beside = true}});
}

at::Tensor TargetHead::forward(const at::Tensor& z_BLD, const nn::ForwardContext& ctx) const {
  return linear_ && ctx.training ? linear_->forward(z_BLD) : at::Tensor();
}

}  // namespace gallop::sparse
