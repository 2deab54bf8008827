// The operators as torch.ops.gallop.*, in the program and, for Python, in libgallop_ops.so. They
// bring their own derivatives, so that autograd needs nothing of the registration.
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "gallop/ops/activation.h"
#include "gallop/ops/adaln.h"
#include "gallop/ops/attention.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/self_attention.h"
#include "gallop/ops/topk_mask.h"

namespace gallop::ops {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

template <at::Tensor (*Operator)(const at::Tensor&, const at::Tensor&, const at::Tensor&)>
at::Tensor with_optional_bias(const at::Tensor& x, const at::Tensor& weight,
                              const OptionalTensor& bias) {
  return Operator(x, weight, bias.value_or(at::Tensor()));
}

template <decltype(&grouped_mlp) Operator>
at::Tensor with_single_weights(const at::Tensor& x, const at::Tensor& offsets,
                               const at::Tensor& tokens, const at::Tensor& weights,
                               const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                               const at::Tensor& b2) {
  return Operator(x, offsets, tokens, weights, {w1, b1, w2, b2});
}

template <TopK (*Operator)(const at::Tensor&, int64_t)>
at::Tensor mask_alone(const at::Tensor& key, int64_t k) {
  return Operator(key, k).mask_RN;
}

template <decltype(&attention) Operator>
at::Tensor with_single_options(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const OptionalTensor& segments, bool causal,
                               std::optional<int64_t> window, std::optional<double> scale,
                               int64_t offset) {
  return Operator(q, k, v,
                  {.causal = causal,
                   .window = window,
                   .segment_BK = segments,
                   .scale = scale,
                   .offset = offset});
}

TORCH_LIBRARY(gallop, library) {
  library.def("linear(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor",
              with_optional_bias<linear>);
  library.def("linear_gelu(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor",
              with_optional_bias<linear_gelu>);
  library.def("gelu_tanh(Tensor x) -> Tensor", gelu_tanh);
  library.def("adaln_modulate(Tensor x, Tensor shift, Tensor scale, float eps=1e-6) -> Tensor",
              adaln_modulate);
  library.def("adaln_gate(Tensor gate, Tensor y) -> Tensor", adaln_gate);
  library.def("adaln_add(Tensor x, Tensor gate, Tensor y) -> Tensor", adaln_add);
  library.def("self_attention(Tensor qkv, int heads) -> Tensor", self_attention);
  library.def(
      "attention(Tensor q, Tensor k, Tensor v, Tensor? segments=None, bool causal=False, "
      "int? window=None, float? scale=None, int offset=0) -> Tensor",
      with_single_options<attention>);
  library.def(
      "grouped_mlp(Tensor x, Tensor offsets, Tensor tokens, Tensor weights, Tensor w1, Tensor b1, "
      "Tensor w2, Tensor b2) -> Tensor",
      with_single_weights<grouped_mlp>);
  library.def("topk_mask(Tensor key, int k) -> Tensor", mask_alone<topk_mask>);

  library.def("linear_reference(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor",
              with_optional_bias<linear_reference>);
  library.def("linear_gelu_reference(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor",
              with_optional_bias<linear_gelu_reference>);
  library.def("gelu_tanh_reference(Tensor x) -> Tensor", gelu_tanh_reference);
  library.def(
      "adaln_modulate_reference(Tensor x, Tensor shift, Tensor scale, float eps=1e-6) -> Tensor",
      adaln_modulate_reference);
  library.def("adaln_gate_reference(Tensor gate, Tensor y) -> Tensor", adaln_gate_reference);
  library.def("adaln_add_reference(Tensor x, Tensor gate, Tensor y) -> Tensor",
              adaln_add_reference);
  library.def("self_attention_reference(Tensor qkv, int heads) -> Tensor",
              self_attention_reference);
  library.def(
      "attention_reference(Tensor q, Tensor k, Tensor v, Tensor? segments=None, "
      "bool causal=False, int? window=None, float? scale=None, int offset=0) -> Tensor",
      with_single_options<attention_reference>);
  library.def(
      "grouped_mlp_reference(Tensor x, Tensor offsets, Tensor tokens, Tensor weights, Tensor w1, "
      "Tensor b1, Tensor w2, Tensor b2) -> Tensor",
      with_single_weights<grouped_mlp_reference>);
  library.def("topk_mask_reference(Tensor key, int k) -> Tensor", mask_alone<topk_mask_reference>);
}

}  // namespace
}  // namespace gallop::ops
