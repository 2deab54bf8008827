#include "gallop/blocks/attention.h"

#include <ATen/ops/scaled_dot_product_attention.h>

#include "gallop/base/error.h"

namespace gallop::blocks {

Attention::Attention(nn::Module& parent, std::string name, int64_t D, int64_t heads)
    : Module(parent, std::move(name)),
      heads_(heads),
      qkv_(*this, "qkv", D, 3 * D),
      proj_(*this, "proj", D, D) {
  require(heads > 0 && D % heads == 0, "the width ", D, " is not divisible by ", heads, " heads");
}

at::Tensor Attention::forward(const at::Tensor& x_BLD) const {
  const int64_t B = x_BLD.size(0), L = x_BLD.size(1), D = x_BLD.size(2);
  const at::Tensor qkv_3BNLd =
      qkv_.forward(x_BLD).view({B, L, 3, heads_, D / heads_}).permute({2, 0, 3, 1, 4});
  const at::Tensor y_BNLd = at::scaled_dot_product_attention(
      qkv_3BNLd.select(0, 0), qkv_3BNLd.select(0, 1), qkv_3BNLd.select(0, 2));
  return proj_.forward(y_BNLd.transpose(1, 2).reshape({B, L, D}));
}

}  // namespace gallop::blocks
