#include "gallop/sparse/experts/grouped.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>

#include <vector>

#include "gallop/ops/activation.h"
#include "gallop/ops/linear.h"

namespace gallop::sparse {

at::Tensor grouped_linear(const at::Tensor& x_PI, const Kept& pairs, const at::Tensor& w_EOI,
                          const at::Tensor& b_EO) {
  const int64_t* offsets = pairs.offsets().const_data_ptr<int64_t>();
  std::vector<at::Tensor> parts;
  for (int64_t e = 0; e < pairs.candidates(); ++e) {
    const int64_t count = offsets[e + 1] - offsets[e];
    if (count == 0) continue;
    parts.push_back(ops::linear(x_PI.narrow(0, offsets[e], count), w_EOI.select(0, e),
                                b_EO.defined() ? b_EO.select(0, e) : at::Tensor()));
  }
  return parts.empty() ? x_PI.matmul(w_EOI.select(0, 0).t()) : at::cat(parts);
}

at::Tensor combine(const at::Tensor& y_PD, const Kept& pairs, const at::Tensor& like_TD) {
  return at::zeros_like(like_TD).index_add(0, pairs.token_P(),
                                           y_PD.mul(pairs.weights_P.unsqueeze(1)));
}

Kept all_pairs(int64_t experts, const at::Tensor& x_TD) {
  const int64_t T = x_TD.size(0);
  const Pairs pairs = Pairs::of_runs(
      {.samples = 1, .tokens = T, .candidates = experts},
      at::arange(T, at::TensorOptions(at::kLong).device(x_TD.device())).repeat({experts}),
      at::arange(experts + 1, at::TensorOptions(at::kLong)).mul(T));
  return {pairs, at::ones({experts * T}, x_TD.options())};
}

Kept some_experts(const Kept& pairs, int64_t first, int64_t count) {
  const int64_t* offsets = pairs.offsets().const_data_ptr<int64_t>();
  const int64_t begin = offsets[first], size = offsets[first + count] - begin;
  const Pairs some =
      Pairs::of_runs({.samples = pairs.samples(), .tokens = pairs.tokens(), .candidates = count},
                     pairs.token_P().narrow(0, begin, size),
                     pairs.offsets().narrow(0, first, count + 1).sub(begin));
  return {some, pairs.weights_P.narrow(0, begin, size)};
}

UsedExperts used_by(const nn::Parameter& weight_EHD, double tokens) {
  const nn::Attributes& attributes = weight_EHD.attributes();
  const std::vector<int64_t>& shape = weight_EHD.shape();
  return {.pairs = tokens * attributes.uses * attributes.share_used * static_cast<double>(shape[0]),
          .D = static_cast<double>(shape[2]),
          .H = static_cast<double>(shape[1])};
}

at::Tensor activate(const at::Tensor& x, const std::string& activation) {
  if (activation == "relu") return at::relu(x);
  return activation == "silu" ? at::silu(x) : ops::gelu_tanh(x);
}

nn::Attributes expert_attributes(const Experts::Args& args) {
  return {.share_used = args.active / static_cast<double>(args.experts), .routed = args.routed};
}

}  // namespace gallop::sparse
