#include "gallop/ops/activation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>

#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/elementwise.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {

namespace {

constexpr int64_t grain = 1 << 14;

std::vector<at::Tensor> backward(const std::vector<at::Tensor>& grads,
                                 const std::vector<at::Tensor>& inputs, const std::vector<bool>&) {
  const at::Tensor x = inputs[0].contiguous(), dy = grads[0].contiguous(), dx = at::empty_like(x);
  const float *from = x.const_data_ptr<float>(), *slope = dy.const_data_ptr<float>();
  float* to = dx.mutable_data_ptr<float>();
  parallel_parts(x.numel(), grain, 1, [&](int64_t begin, int64_t end) {
    gelu_backward(from + begin, slope + begin, to + begin, end - begin);
  });
  return {dx};
}

}  // namespace

at::Tensor gelu_tanh_reference(const at::Tensor& x) { return at::gelu(x, "tanh"); }

at::Tensor gelu_tanh(const at::Tensor& x) {
  if (!has_kernel({x})) return gelu_tanh_reference(x);
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor dense = x.contiguous();
    y = at::empty_like(dense);
    const float* from = dense.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    parallel_parts(x.numel(), grain, 1, [&](int64_t begin, int64_t end) {
      gelu(from + begin, to + begin, end - begin);
    });
  }
  set_derivative({y}, {x}, {"GeluTanh", backward, [](const std::vector<at::Tensor>& inputs) {
                              return std::vector<at::Tensor>{gelu_tanh_reference(inputs[0])};
                            }});
  return y;
}

}  // namespace gallop::ops
