#include "gallop/sparse/entropy.h"

namespace gallop::sparse {

at::Tensor entropy_of(const at::Tensor& logits, double q) {
  if (q == 1) {
    const at::Tensor log_p = logits.log_softmax(-1);
    return log_p.exp().mul(log_p).sum(-1).neg();
  }
  return logits.softmax(-1).pow(q).sum(-1).sub(1).div(1 - q);
}

}  // namespace gallop::sparse
