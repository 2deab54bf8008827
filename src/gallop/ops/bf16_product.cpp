#include "gallop/ops/bf16_product.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>

#include "gallop/ops/bridge.h"

namespace gallop::ops {

namespace {

using Tensors = std::vector<at::Tensor>;

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(x.scalar_type()); }

// The rounded value, with the gradient of the number itself: the difference is exact.
at::Tensor straight_through(const at::Tensor& x) {
  return x.add(rounded(x.detach()).sub(x.detach()));
}

at::Tensor gated(const at::Tensor& y, const at::Tensor& gate) {
  return gate.defined() ? y.mul(gate.unsqueeze(-1)) : y;
}

// With u = W^T dy: dx = gate u, dgate = u . x, so that the product itself is not needed again.
Tensors backward(const Tensors& grads, const Tensors& in, const std::vector<bool>& needed) {
  const at::Tensor &x = in[0], &weight = in[1], &gate = in[2], dy = rounded(grads[0]);
  const at::Tensor u = dy.matmul(rounded(weight));
  Tensors result(3);
  if (needed[0]) result[0] = gated(u, gate);
  if (needed[1]) {
    const at::Tensor rows = rounded(gated(x, gate)).reshape({-1, x.size(-1)});
    result[1] = dy.reshape({-1, dy.size(-1)}).t().matmul(rows);
  }
  if (needed[2]) result[2] = u.mul(x).sum(-1);
  return result;
}

}  // namespace

at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate) {
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    y = gated(at::linear(rounded(x), rounded(weight)), gate);
  }
  set_derivative(
      {y}, {x, weight, gate},
      {"Bf16Product", backward, [](const Tensors& in) {
         return Tensors{gated(at::linear(straight_through(in[0]), straight_through(in[1])), in[2])};
       }});
  return y;
}

}  // namespace gallop::ops
