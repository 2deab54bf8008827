#include "gallop/blocks/attention.h"

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/self_attention.h"

namespace gallop::blocks {

MultiHead::MultiHead(const Args& args)
    : Attention(*args.parent, "attn"),
      heads_(args.heads),
      qkv_(*this, "qkv", args.D, 3 * args.D),
      proj_(*this, "proj", args.D, args.D) {
  require(heads_ > 0 && args.D % heads_ == 0, "the width ", args.D, " is not divisible by ", heads_,
          " heads");
}

double MultiHead::multiply_adds(double tokens) const {
  return 2 * tokens * tokens * static_cast<double>(proj_.weight().shape()[0]);
}

at::Tensor MultiHead::of_heads(const at::Tensor& x_BLD) const {
  return ops::self_attention(qkv_.forward(x_BLD), heads_);
}

namespace {

class FullAttention : public MultiHead {
 public:
  using MultiHead::MultiHead;
  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext&) const override {
    return project(of_heads(x_BLD));
  }
};

const config::RegisterKind<Attention, FullAttention> registered{
    "full", "every token uses every head", "DiT, arXiv 2212.09748"};

}  // namespace
}  // namespace gallop::blocks
