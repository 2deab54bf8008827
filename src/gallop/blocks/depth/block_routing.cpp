#include "gallop/blocks/depth/block_routing.h"

#include <ATen/core/grad_mode.h>

#include "gallop/ops/precision.h"
#include "gallop/ops/topk_mask.h"

namespace gallop::blocks {

at::Tensor token_scores(const nn::Linear& router, const at::Tensor& x_BLD) {
  const ops::PrecisionGuard exact(ops::Precision::float32);
  return router.forward(x_BLD).squeeze(-1);
}

at::Tensor best_positions(const at::Tensor& key_BL, int64_t K) {
  const at::NoGradGuard no_grad;
  const at::Tensor mask_BL = ops::topk_mask(key_BL.contiguous(), K).mask_RN;
  return mask_BL.nonzero().select(1, 1).reshape({key_BL.size(0), K});
}

}  // namespace gallop::blocks
