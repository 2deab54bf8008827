#include "gallop/ops/inference/int8.h"

#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "gallop/ops/activation.h"
#include "gallop/ops/cpu/parallel.h"

namespace gallop::ops {

namespace {

struct Quantized {
  at::Tensor numbers, scale;  // double; float32 with last size 1
};

Quantized quantize(const at::Tensor& x) {
  const at::Tensor most = x.abs().amax(-1, /*keepdim=*/true);
  const at::Tensor finite = most.isfinite(), zero = most.lt(least_int8);
  const at::Tensor inverse =
      at::where(zero, at::zeros_like(most), at::full_like(most, most_int8).div(most));
  const at::Tensor numbers = x.mul(inverse).round();
  const at::Tensor scale = at::where(zero, at::zeros_like(most), most.div(most_int8));
  return {at::where(finite, numbers, at::zeros_like(x)).to(at::kDouble),
          at::where(finite, scale, at::full_like(scale, std::numeric_limits<float>::quiet_NaN()))};
}

std::vector<Int8Panels> quantize(const at::Tensor& weight, const Int8Tile& tile) {
  const int64_t E = weight.dim() == 3 ? weight.size(0) : 1, N = weight.size(-2),
                K = weight.size(-1);
  std::vector<Int8Panels> result;
  for (int64_t e = 0; e < E; ++e) result.emplace_back(N, K, tile);
  const int64_t panels = E == 0 ? 0 : result[0].count();
  const float* data = weight.const_data_ptr<float>();
  parallel_each(E * panels, weight.numel() * work_of_a_number, [&](int64_t task) {
    const int64_t e = task / panels;
    result[e].fill(task % panels, data + e * N * K);
  });
  return result;
}

}  // namespace

Int8Weights::Int8Weights(const std::vector<at::Tensor>& weights, const Int8Tile& tile)
    : WeightForms(weights, [&tile](const at::Tensor& weight) { return quantize(weight, tile); }),
      tile_(&tile) {
  make_all();
}

int64_t Int8Weights::bytes() const {
  return sum_of_forms([](const Int8Panels& panels) { return panels.bytes(); });
}

std::vector<std::span<const Int8Panels>> Int8Guard::find(at::TensorList weights) {
  return active() == nullptr ? std::vector<std::span<const Int8Panels>>() : active()->find(weights);
}

at::Tensor linear_int8_reference(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, bool gelu) {
  const Quantized a = quantize(x), b = quantize(weight);
  at::Tensor y = a.numbers.matmul(b.numbers.t()).to(at::kFloat).mul(b.scale.t().squeeze(0));
  y = y.mul(a.scale);
  if (bias.defined()) y = y.add(bias);
  return gelu ? gelu_tanh_reference(y) : y;
}

at::Tensor grouped_mlp_int8_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                      const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                      const GroupedMlpWeights& mlp) {
  const at::Tensor x_PD = x_TD.index_select(0, tokens_P);
  const int64_t* offset = offsets.const_data_ptr<int64_t>();
  at::Tensor y_TD = at::zeros_like(x_TD);
  for (int64_t e = 0; e + 1 < offsets.numel(); ++e) {
    const int64_t begin = offset[e], count = offset[e + 1] - begin;
    const at::Tensor hidden = linear_int8_reference(
        x_PD.narrow(0, begin, count), mlp.w1_EHD.select(0, e), mlp.b1_EH.select(0, e), true);
    const at::Tensor y =
        linear_int8_reference(hidden, mlp.w2_EDH.select(0, e), mlp.b2_ED.select(0, e), false);
    y_TD = y_TD.index_add(0, tokens_P.narrow(0, begin, count),
                          y.mul(weights_P.narrow(0, begin, count).unsqueeze(1)));
  }
  return y_TD;
}

}  // namespace gallop::ops
