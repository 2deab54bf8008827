#include "gallop/nn/cosine.h"

namespace gallop::sparse {

at::Tensor unit_rows(const at::Tensor& x) {
  return x.div(x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12));
}

at::Tensor cosines(const at::Tensor& x, const at::Tensor& y_ED) {
  return unit_rows(x).matmul(unit_rows(y_ED).t());
}

}  // namespace gallop::sparse
