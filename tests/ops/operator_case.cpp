#include "tests/ops/operator_case.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <sstream>
#include <tuple>

#include "gallop/base/random.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/adaln.h"
#include "gallop/ops/attention.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/self_attention.h"

namespace gallop::testing {

namespace {

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

OperatorCase linear_case(int64_t M, int64_t K, int64_t N, bool bias, bool activate) {
  OperatorCase c;
  c.name = text(activate ? "linear_gelu " : "linear ", M, "x", K, "->", N, bias ? "" : " no bias");
  c.inputs = {random("x", {M, K}), random("w", {N, K}, 0.1)};
  if (bias) c.inputs.push_back(random("b", {N}));
  const auto with = [](auto* function) {
    return [function](const Tensors& in) {
      return function(in[0], in[1], in.size() > 2 ? in[2] : at::Tensor());
    };
  };
  c.op = with(activate ? ops::linear_gelu : ops::linear);
  c.reference = with(activate ? ops::linear_gelu_reference : ops::linear_reference);
  c.flops = 2.0 * static_cast<double>(M * K * N);
  c.bytes = 4.0 * static_cast<double>(M * K + N * K + M * N);
  return c;
}

OperatorCase gelu_case(int64_t rows, int64_t width) {
  OperatorCase c;
  c.name = text("gelu_tanh ", rows, "x", width);
  c.inputs = {random("x", {rows, width}, 3)};
  c.op = [](const Tensors& in) { return ops::gelu_tanh(in[0]); };
  c.reference = [](const Tensors& in) { return ops::gelu_tanh_reference(in[0]); };
  c.bytes = 8.0 * static_cast<double>(rows * width);
  return c;
}

// Shift, scale and gate are parts of one row of modulations, as in a block.
std::vector<OperatorCase> adaln_pair(int64_t B, int64_t L, int64_t D) {
  const auto part = [D](const Tensors& in, int64_t i) { return in[1].narrow(1, i * D, D); };
  OperatorCase modulate, gate;
  modulate.name = text("adaln_modulate ", B, "x", L, "x", D);
  modulate.inputs = {random("x", {B, L, D}).add_(0.5), random("m", {B, 3 * D})};
  modulate.op = [part](const Tensors& in) {
    return ops::adaln_modulate(in[0], part(in, 0), part(in, 1));
  };
  modulate.reference = [part](const Tensors& in) {
    return ops::adaln_modulate_reference(in[0], part(in, 0), part(in, 1));
  };
  modulate.bytes = 8.0 * static_cast<double>(B * L * D);
  gate = modulate;
  gate.name = text("adaln_gate ", B, "x", L, "x", D);
  gate.op = [part](const Tensors& in) { return ops::adaln_gate(part(in, 2), in[0]); };
  gate.reference = [part](const Tensors& in) {
    return ops::adaln_gate_reference(part(in, 2), in[0]);
  };
  // The branch of a block: x is read twice.
  OperatorCase keep = modulate, add = modulate;
  keep.name = text("adaln_modulate_and_keep ", B, "x", L, "x", D);
  keep.op = [part](const Tensors& in) {
    const auto both = ops::adaln_modulate_and_keep(in[0], part(in, 0), part(in, 1));
    return both.modulated_BLD.mul(both.x_BLD);
  };
  keep.reference = [part](const Tensors& in) {
    return ops::adaln_modulate_reference(in[0], part(in, 0), part(in, 1)).mul(in[0]);
  };
  add.name = text("adaln_add ", B, "x", L, "x", D);
  add.inputs.push_back(random("y", {B, L, D}));
  add.op = [part](const Tensors& in) { return ops::adaln_add(in[0], part(in, 2), in[2]); };
  add.reference = [part](const Tensors& in) {
    return ops::adaln_add_reference(in[0], part(in, 2), in[2]);
  };
  add.bytes = 12.0 * static_cast<double>(B * L * D);
  return {modulate, gate, keep, add};
}

OperatorCase self_attention_case(int64_t B, int64_t L, int64_t heads, int64_t d) {
  OperatorCase c;
  c.name = text("self_attention B", B, " L", L, " heads ", heads, "x", d);
  c.inputs = {random("qkv", {B, L, 3 * heads * d})};
  c.op = [heads](const Tensors& in) { return ops::self_attention(in[0], heads); };
  c.reference = [heads](const Tensors& in) { return ops::self_attention_reference(in[0], heads); };
  c.flops = 4.0 * static_cast<double>(B * L * L * heads * d);
  c.bytes = 16.0 * static_cast<double>(B * L * heads * d);
  return c;
}

// `share` query heads to a head of the keys; `seen` is the share of the pairs that count.
OperatorCase attention_case(const std::string& name, int64_t B, int64_t Q, int64_t K, int64_t heads,
                            int64_t share, int64_t d, const ops::AttentionOptions& options,
                            double seen) {
  OperatorCase c;
  c.name = text("attention ", name, " B", B, " Q", Q, " K", K, " heads ", heads, "x", d);
  c.inputs = {random("q", {B, Q, heads, d}), random("k", {B, K, heads / share, d}),
              random("v", {B, K, heads / share, d})};
  c.op = [options](const Tensors& in) { return ops::attention(in[0], in[1], in[2], options); };
  c.reference = [options](const Tensors& in) {
    return ops::attention_reference(in[0], in[1], in[2], options);
  };
  c.flops = 4.0 * seen * static_cast<double>(B * Q * K * heads * d);
  c.bytes = 8.0 * static_cast<double>(B * heads * d * (Q + K));
  return c;
}

// Segments of these lengths one behind the other, [B, their sum]; sample b begins with number b.
at::Tensor segments_of(int64_t B, const std::vector<int64_t>& lengths) {
  std::vector<int64_t> ids;
  for (int64_t b = 0; b < B; ++b) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      ids.insert(ids.end(), static_cast<size_t>(lengths[i]), b + static_cast<int64_t>(i));
    }
  }
  return at::tensor(ids).reshape({B, -1});
}

// loads[e] random tokens for expert e, ascending.
OperatorCase grouped_mlp_case(const std::string& name, int64_t T, int64_t D, int64_t H,
                              const std::vector<int64_t>& loads) {
  const auto E = static_cast<int64_t>(loads.size());
  std::vector<int64_t> offsets{0}, tokens;
  for (int64_t e = 0; e < E; ++e) {
    std::vector<int64_t> order =
        permutation(T, {.purpose = "routing", .sample = static_cast<uint64_t>(e)});
    std::sort(order.begin(), order.begin() + loads[e]);
    tokens.insert(tokens.end(), order.begin(), order.begin() + loads[e]);
    offsets.push_back(static_cast<int64_t>(tokens.size()));
  }
  const auto P = static_cast<int64_t>(tokens.size());
  OperatorCase c;
  c.name = text("grouped_mlp ", name, " T", T, " D", D, " H", H, " E", E);
  c.inputs = {random("x", {T, D}),       random("gate", {P}),          random("w1", {E, H, D}, 0.1),
              random("b1", {E, H}, 0.1), random("w2", {E, D, H}, 0.1), random("b2", {E, D}, 0.1)};
  const auto with = [&](auto* function) {
    return
        [function, offsets = at::tensor(offsets), tokens = at::tensor(tokens)](const Tensors& in) {
          return function(in[0], offsets, tokens, in[1], {in[2], in[3], in[4], in[5]});
        };
  };
  c.op = with(ops::grouped_mlp);
  c.reference = with(ops::grouped_mlp_reference);
  c.flops = 4.0 * static_cast<double>(P * D * H);
  c.bytes = 4.0 * static_cast<double>(2 * T * D + 2 * E * D * H);
  return c;
}

}  // namespace

at::Tensor random(const std::string& name, at::IntArrayRef shape, double scale) {
  at::Tensor x = at::empty(shape, at::TensorOptions(at::kFloat));
  fill_normal(std::span(x.mutable_data_ptr<float>(), x.numel()),
              {.purpose = "test", .sample = hash_name(name)});
  return x.mul_(scale);
}

std::vector<OperatorCase> linear_cases() {
  std::vector<OperatorCase> cases;
  for (const bool activate : {false, true}) {
    cases.push_back(linear_case(1, 1, 1, true, activate));
    cases.push_back(linear_case(5, 8, 16, true, activate));
    cases.push_back(linear_case(7, 13, 19, false, activate));
    cases.push_back(linear_case(97, 45, 33, true, activate));
    cases.push_back(linear_case(200, 330, 70, true, activate));   // two panels deep
    cases.push_back(linear_case(1100, 17, 50, true, activate));   // two chunks of rows
    cases.push_back(linear_case(130, 270, 400, true, activate));  // tiles of the weight gradient
  }
  return cases;
}

std::vector<OperatorCase> linear_benchmarks() {
  std::vector<OperatorCase> cases;
  // The default recipe: 128 images of 49 tokens, width 128.
  for (const auto& [K, N] : {std::pair{128, 384}, {128, 128}, {128, 512}, {512, 128}}) {
    cases.push_back(linear_case(6272, K, N, true, false));
  }
  cases.push_back(linear_case(6272, 128, 512, true, true));
  cases.push_back(linear_case(128, 128, 768, true, false));  // its modulations
  // Size S at 256 tokens, batch 8.
  for (const auto& [K, N] : {std::pair{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}}) {
    cases.push_back(linear_case(2048, K, N, true, false));
  }
  cases.push_back(linear_case(2048, 384, 1536, true, true));
  cases.push_back(linear_case(8, 384, 2304, true, false));
  return cases;
}

std::vector<OperatorCase> activation_cases() {
  return {gelu_case(1, 3), gelu_case(3, 5), gelu_case(7, 8), gelu_case(200, 301)};
}
std::vector<OperatorCase> activation_benchmarks() {
  return {gelu_case(6272, 512), gelu_case(2048, 1536)};
}

std::vector<OperatorCase> adaln_cases() {
  std::vector<OperatorCase> cases;
  for (const auto& [B, L, D] : {std::tuple{1, 1, 3}, {2, 3, 8}, {3, 5, 13}, {2, 49, 132}}) {
    for (const OperatorCase& c : adaln_pair(B, L, D)) cases.push_back(c);
  }
  return cases;
}
std::vector<OperatorCase> adaln_benchmarks() {
  std::vector<OperatorCase> cases = adaln_pair(128, 49, 128);
  for (const OperatorCase& c : adaln_pair(8, 256, 384)) cases.push_back(c);
  return cases;
}

std::vector<OperatorCase> self_attention_cases() {
  return {self_attention_case(1, 1, 1, 1),    self_attention_case(2, 5, 3, 7),
          self_attention_case(2, 49, 2, 32),  self_attention_case(1, 16, 1, 8),
          self_attention_case(1, 131, 2, 24), self_attention_case(1, 300, 1, 16)};
}
std::vector<OperatorCase> self_attention_benchmarks() {
  return {self_attention_case(128, 49, 4, 32), self_attention_case(64, 49, 4, 64),
          self_attention_case(8, 196, 6, 64), self_attention_case(8, 256, 12, 32),
          self_attention_case(8, 256, 6, 64)};
}

std::vector<OperatorCase> attention_cases() {
  return {
      attention_case("full", 2, 5, 9, 3, 1, 7, {}, 1),
      attention_case("grouped", 2, 5, 5, 6, 3, 4, {.causal = true}, 1),
      attention_case("causal", 2, 37, 37, 2, 1, 8, {.causal = true}, 1),
      attention_case("causal", 1, 300, 300, 1, 1, 16, {.causal = true, .scale = 0.3}, 1),
      attention_case("window", 2, 21, 21, 2, 1, 5, {.window = 4}, 1),
      attention_case("causal window", 1, 40, 40, 1, 1, 8, {.causal = true, .window = 9}, 1),
      attention_case("segments", 2, 20, 20, 2, 1, 8, {.segment_BK = segments_of(2, {3, 9, 8})}, 1),
      attention_case(
          "all", 2, 11, 20, 4, 2, 8,
          {.causal = true, .window = 6, .segment_BK = segments_of(2, {3, 9, 8}), .offset = 9}, 1)};
}
std::vector<OperatorCase> attention_benchmarks() {
  return {attention_case("full", 8, 256, 256, 6, 1, 64, {}, 1),
          attention_case("causal", 8, 256, 256, 6, 1, 64, {.causal = true}, 0.5),
          attention_case("causal", 2, 1024, 1024, 6, 1, 64, {.causal = true}, 0.5),
          attention_case("window 64", 8, 256, 256, 6, 1, 64, {.causal = true, .window = 64}, 0.22),
          attention_case("one query", 8, 1, 512, 12, 4, 64, {.causal = true, .offset = 511}, 1)};
}

std::vector<OperatorCase> grouped_mlp_cases() {
  return {grouped_mlp_case("one token", 1, 3, 5, {1}),
          grouped_mlp_case("empty experts", 9, 5, 11, {0, 4, 0, 9, 1, 0}),
          grouped_mlp_case("idle tokens", 40, 8, 16, {3, 2}),
          grouped_mlp_case("odd", 131, 37, 51, {100, 7, 64}),
          grouped_mlp_case("hot", 1300, 16, 24, {1300, 20, 0, 35})};
}

std::vector<OperatorCase> grouped_mlp_benchmarks() {
  std::vector<OperatorCase> cases{
      // The default recipe, with balanced loads and with half of the pairs on one expert.
      grouped_mlp_case("balanced", 6272, 128, 256, std::vector<int64_t>(8, 1568)),
      grouped_mlp_case("hot", 6272, 128, 256, {6272, 896, 896, 896, 896, 896, 896, 896})};
  for (const auto& [tokens, experts] : {std::pair{16, 32}, {64, 16}, {256, 8}}) {
    cases.push_back(grouped_mlp_case(text(tokens, " an expert"), tokens * experts / 2, 384, 768,
                                     std::vector<int64_t>(experts, tokens)));
  }
  return cases;
}

}  // namespace gallop::testing
