#include "gallop/ops/activation.h"

#include <ATen/ops/gelu.h>

namespace gallop::ops {

at::Tensor gelu_tanh(const at::Tensor& x) { return at::gelu(x, "tanh"); }

}  // namespace gallop::ops
