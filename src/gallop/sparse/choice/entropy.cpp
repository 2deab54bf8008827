#include "gallop/sparse/choice/entropy.h"

#include <cmath>

namespace gallop::sparse {

at::Tensor entropy_of(const at::Tensor& logits) {
  const at::Tensor log_p = logits.log_softmax(-1);
  return log_p.exp().mul(log_p).sum(-1).neg();
}

at::Tensor normalised_entropy(const at::Tensor& logits, double q, double eps) {
  const auto E = static_cast<double>(logits.size(-1));
  if (E == 1) return logits.sum(-1).mul(0);
  const at::Tensor p = logits.softmax(-1).add(eps);
  if (q == 1) {
    // Without eps, 0 log 0 is 0.
    return p.mul(p.clamp_min(1e-30).log()).sum(-1).div(-std::log(E));
  }
  return p.pow(q).sum(-1).sub(1).div(std::pow(E, 1 - q) - 1);
}

}  // namespace gallop::sparse
