#include "gallop/ops/linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>

#include "gallop/base/error.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/bf16_product.h"
#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/elementwise.h"
#include "gallop/ops/cpu/products.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/precision.h"

namespace gallop::ops {

namespace {

struct Sizes {
  int64_t M, K, N;  // rows, in, out
};

Sizes sizes_of(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  require(x.defined() && weight.defined() && weight.dim() == 2 && x.dim() >= 1 &&
              x.size(-1) == weight.size(1) &&
              (!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0))),
          "linear: x ", x.sizes(), ", weight ", weight.sizes(), " and bias ",
          bias.defined() ? bias.sizes() : at::IntArrayRef{}, " do not fit together");
  const int64_t K = weight.size(1);
  return {K == 0 ? 0 : x.numel() / K, K, weight.size(0)};
}

// Kernels sum over something, and know the sizes.
bool has_linear_kernel(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!has_kernel({x, weight, bias})) return false;
  const Sizes sizes = sizes_of(x, weight, bias);
  return sizes.K > 0 && sizes.N > 0;
}

// z, what went into the activation, is undefined without one.
std::vector<at::Tensor> backward(const at::Tensor& z, const at::Tensor& dy_given,
                                 const std::vector<at::Tensor>& inputs,
                                 const std::vector<bool>& needed, const Bf16Tile* bf16) {
  const at::Tensor x = inputs[0].contiguous(), weight = inputs[1].contiguous();
  const auto [M, K, N] = sizes_of(x, weight, inputs[2]);
  const at::Tensor dy = dy_given.contiguous();
  const at::Tensor dz = z.defined() ? at::empty_like(z) : dy;
  std::vector<at::Tensor> grads(3);
  if (needed[0]) grads[0] = at::empty_like(x);
  if (needed[1]) grads[1] = at::empty_like(weight);
  if (needed[2]) grads[2] = at::empty({N}, dy.options());

  const std::vector<int64_t> offsets{0, M};
  const std::vector<RowBlock> blocks = row_blocks(offsets);
  const auto count = static_cast<int64_t>(blocks.size());
  const float* slope = dz.const_data_ptr<float>();
  Buffer buffer;
  float* bias_parts = buffer.at_least(needed[2] ? count * N : 0);
  if (z.defined() || needed[2]) {
    parallel_each(count, M * N * work_of_a_number, [&](int64_t i) {
      const int64_t begin = blocks[i].begin * N, size = blocks[i].count * N;
      if (z.defined()) {
        gelu_backward(z.const_data_ptr<float>() + begin, dy.const_data_ptr<float>() + begin,
                      dz.mutable_data_ptr<float>() + begin, size);
      }
      if (needed[2]) sum_rows(slope + begin, N, blocks[i].count, N, bias_parts + i * N);
    });
  }
  if (needed[0]) {
    multiply_blocks(row_pointers(slope, N, 0, M), blocks,
                    RightMatrices(weight, Side::as_it_stands, blocks, bf16),
                    grads[0].mutable_data_ptr<float>(), [](auto&&...) {});
  }
  if (needed[1]) {
    weight_gradients(row_pointers(slope, N, 0, M), N,
                     row_pointers(x.const_data_ptr<float>(), K, 0, M), K, offsets,
                     grads[1].mutable_data_ptr<float>(), bf16);
  }
  if (needed[2]) sum_blocks(bias_parts, blocks, N, 1, grads[2].mutable_data_ptr<float>());
  return grads;
}

// Fills y, and z if there is an activation.
void forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
             const at::Tensor& y, const at::Tensor& z, const Bf16Tile* bf16) {
  const auto [M, K, N] = sizes_of(x, weight, bias);
  const float* from = x.const_data_ptr<float>();
  const float* shift = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  float* to = y.mutable_data_ptr<float>();
  float* before = z.defined() ? z.mutable_data_ptr<float>() : to;
  const std::vector<RowBlock> blocks = row_blocks(std::vector<int64_t>{0, M});
  multiply_blocks(row_pointers(from, K, 0, M), blocks,
                  RightMatrices(weight, Side::transposed, blocks, bf16), before,
                  [&](const RowBlock& block, int64_t n, int64_t width) {
                    const int64_t at = block.begin * N + n;
                    const float* add = shift == nullptr ? nullptr : shift + n;
                    if (z.defined()) {
                      bias_gelu(before + at, to + at, N, add, block.count, width);
                    } else if (add != nullptr) {
                      add_bias(before + at, N, add, block.count, width);
                    }
                  });
}

at::Tensor run_int8(const at::Tensor& x, const Int8Panels& weight, const at::Tensor& bias,
                    bool activate) {
  const int64_t K = weight.K();
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.N();
  const at::Tensor y = at::empty(shape, x.options());
  multiply(x.const_data_ptr<float>(), K == 0 ? 0 : x.numel() / K, weight,
           bias.defined() ? bias.const_data_ptr<float>() : nullptr, activate,
           y.mutable_data_ptr<float>());
  return y;
}

at::Tensor run(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
               bool activate) {
  if (!wants_graph({x, weight, bias})) {
    const auto in_8_bits = Int8Guard::find({weight});
    if (!in_8_bits.empty()) {
      sizes_of(x, weight, bias);
      return run_int8(x.contiguous(), in_8_bits[0][0], bias.defined() ? bias.contiguous() : bias,
                      activate);
    }
  }
  const Bf16Tile* bf16 = product_tile();
  at::Tensor y, z;
  {
    const at::NoGradGuard no_grad;
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = sizes_of(x, weight, bias).N;
    y = at::empty(shape, x.options());
    if (activate) z = at::empty(shape, x.options());
    forward(x.contiguous(), weight.contiguous(), bias.defined() ? bias.contiguous() : bias, y, z,
            bf16);
  }
  using Tensors = std::vector<at::Tensor>;
  set_derivative(
      {y}, {x, weight, bias},
      {activate ? "LinearGelu" : "Linear",
       [z, bf16](const Tensors& grads, const Tensors& inputs, const std::vector<bool>& needed) {
         return backward(z, grads[0], inputs, needed, bf16);
       },
       [activate, precision = PrecisionGuard::active()](const Tensors& in) {
         const PrecisionGuard guard(precision);
         return Tensors{(activate ? linear_gelu_reference : linear_reference)(in[0], in[1], in[2])};
       }});
  return y;
}

}  // namespace

at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (PrecisionGuard::active() == Precision::bf16) {
    const at::Tensor product = bf16_product(x, weight);
    return bias.defined() ? product.add(bias) : product;
  }
  return at::linear(x, weight, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt);
}

at::Tensor linear_gelu_reference(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias) {
  return gelu_tanh_reference(linear_reference(x, weight, bias));
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!has_linear_kernel(x, weight, bias)) return linear_reference(x, weight, bias);
  return run(x, weight, bias, /*activate=*/false);
}

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!has_linear_kernel(x, weight, bias)) return linear_gelu_reference(x, weight, bias);
  return run(x, weight, bias, /*activate=*/true);
}

}  // namespace gallop::ops
