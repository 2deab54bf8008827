#include "gallop/blocks/attention.h"

#include "gallop/base/error.h"
#include "gallop/ops/attention.h"

namespace gallop::blocks {

Attention::Attention(nn::Module& parent, std::string name, int64_t D, int64_t heads)
    : Module(parent, std::move(name)),
      heads_(heads),
      qkv_(*this, "qkv", D, 3 * D),
      proj_(*this, "proj", D, D) {
  require(heads > 0 && D % heads == 0, "the width ", D, " is not divisible by ", heads, " heads");
}

at::Tensor Attention::forward(const at::Tensor& x_BLD) const {
  return proj_.forward(ops::self_attention(qkv_.forward(x_BLD), heads_));
}

}  // namespace gallop::blocks
