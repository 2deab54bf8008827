#include "gallop/ops/adaln.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>

namespace gallop::ops {

at::Tensor adaln_modulate(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                          const at::Tensor& scale_BD, double eps) {
  const at::Tensor normed_BLD = at::layer_norm(x_BLD, {x_BLD.size(-1)}, {}, {}, eps);
  return shift_BD.unsqueeze(1).addcmul(normed_BLD, scale_BD.unsqueeze(1) + 1);
}

}  // namespace gallop::ops
