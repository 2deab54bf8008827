#include "gallop/ops/grouped_mlp.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <optional>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/bf16_product.h"
#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/elementwise.h"
#include "gallop/ops/cpu/products.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/precision.h"

namespace gallop::ops {

namespace {

using Tensors = std::vector<at::Tensor>;

// Which tokens an expert reads, and which pairs a token sums.
struct Routes {
  std::vector<int64_t> offsets;       // pairs of expert e: offsets[e] .. offsets[e+1]-1
  std::vector<int64_t> tokens;        // of each pair
  std::vector<int64_t> first, pairs;  // pairs of token t: pairs[first[t]] .. , ascending
  std::vector<RowBlock> blocks;       // of pairs

  Routes(const at::Tensor& offsets_E1, const at::Tensor& tokens_P, int64_t T)
      : offsets(offsets_E1.const_data_ptr<int64_t>(),
                offsets_E1.const_data_ptr<int64_t>() + offsets_E1.numel()),
        tokens(tokens_P.const_data_ptr<int64_t>(),
               tokens_P.const_data_ptr<int64_t>() + tokens_P.numel()),
        first(T + 1),
        pairs(tokens.size()),
        blocks(row_blocks(offsets)) {
    for (const int64_t t : tokens) {
      require(t >= 0 && t < T, "grouped_mlp: token ", t, " of ", T);
      ++first[t + 1];
    }
    for (int64_t t = 0; t < T; ++t) first[t + 1] += first[t];
    std::vector<int64_t> next(first.begin(), first.end() - 1);
    for (size_t p = 0; p < tokens.size(); ++p) pairs[next[tokens[p]]++] = static_cast<int64_t>(p);
  }

  int64_t P() const { return static_cast<int64_t>(tokens.size()); }
  int64_t T() const { return static_cast<int64_t>(first.size()) - 1; }
  int64_t block_count() const { return static_cast<int64_t>(blocks.size()); }

  // y[t] = sum of weight * pair_y over the pairs of t, in their order; weights may be null.
  void combine(const float* pair_y, const float* weights, int64_t D, float* y) const {
    parallel_parts(T(), 64, D, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        weighted_sum(pair_y, D, pairs.data() + first[t], first[t + 1] - first[t], weights,
                     y + t * D);
      }
    });
  }
};

struct Sizes {
  int64_t D, H, E;
};

// Kernels follow the index arrays without looking. Tokens on another device are left to its own
// checks: reading them here would wait for it.
void check_indices(const at::Tensor& x_TD, const at::Tensor& offsets, const at::Tensor& tokens_P,
                   int64_t E) {
  require(offsets.dim() == 1 && offsets.scalar_type() == at::kLong && offsets.is_cpu() &&
              offsets.size(0) == E + 1,
          "grouped_mlp: offsets must be [", E + 1, "] int64 on the CPU, got ", offsets.sizes(), " ",
          offsets.scalar_type(), " on ", offsets.device());
  require(tokens_P.dim() == 1 && tokens_P.scalar_type() == at::kLong &&
              tokens_P.device() == x_TD.device(),
          "grouped_mlp: tokens must be a list of int64 beside x on ", x_TD.device(), ", got ",
          tokens_P.sizes(), " ", tokens_P.scalar_type(), " on ", tokens_P.device());
  const at::Tensor dense = offsets.contiguous();
  const int64_t* offset = dense.const_data_ptr<int64_t>();
  require(offset[0] == 0 && offset[E] == tokens_P.size(0), "grouped_mlp: offsets run from ",
          offset[0], " to ", offset[E], ", and must from 0 to the ", tokens_P.size(0), " pairs");
  for (int64_t e = 0; e < E; ++e) {
    require(offset[e] <= offset[e + 1], "grouped_mlp: offsets fall from ", offset[e], " to ",
            offset[e + 1], " at expert ", e);
  }
}

Sizes sizes_of(const at::Tensor& x_TD, const at::Tensor& offsets, const at::Tensor& tokens_P,
               const at::Tensor& weights_P, const GroupedMlpWeights& mlp) {
  require(x_TD.dim() == 2 && mlp.w1_EHD.dim() == 3 && mlp.w1_EHD.size(0) > 0,
          "grouped_mlp: x must be [T, D] and w1 [E, H, D] of one expert at least, got ",
          x_TD.sizes(), " and ", mlp.w1_EHD.sizes());
  const int64_t D = x_TD.size(1), H = mlp.w1_EHD.size(1), E = mlp.w1_EHD.size(0);
  require(mlp.w1_EHD.size(2) == D && mlp.b1_EH.sizes() == at::IntArrayRef({E, H}) &&
              mlp.w2_EDH.sizes() == at::IntArrayRef({E, D, H}) &&
              mlp.b2_ED.sizes() == at::IntArrayRef({E, D}),
          "grouped_mlp: x ", x_TD.sizes(), ", w1 ", mlp.w1_EHD.sizes(), ", b1 ", mlp.b1_EH.sizes(),
          ", w2 ", mlp.w2_EDH.sizes(), " and b2 ", mlp.b2_ED.sizes(), " do not fit together");
  check_indices(x_TD, offsets, tokens_P, E);
  require(weights_P.sizes() == tokens_P.sizes(), "grouped_mlp: ", tokens_P.sizes(), " tokens and ",
          weights_P.sizes(), " weights");
  return {D, H, E};
}

// in: x, weights, w1, b1, w2, b2, contiguous. z receives what goes into the activation, for the
// backward; without a graph it is undefined and a task's own memory serves.
at::Tensor forward(const Routes& routes, const Sizes& sizes, const Tensors& in,
                   const at::Tensor& z_PH, const Bf16Tile* bf16) {
  const auto [D, H, E] = sizes;
  const float *b1 = in[3].const_data_ptr<float>(), *b2 = in[5].const_data_ptr<float>();
  const RightMatrices up(in[2], Side::transposed, routes.blocks, bf16),
      down(in[4], Side::transposed, routes.blocks, bf16);
  const std::vector<const float*> rows =
      row_pointers(in[0].const_data_ptr<float>(), D, 0, routes.P(), routes.tokens.data());
  const at::Tensor y_PD = at::empty({routes.P(), D}, in[0].options());
  float* y = y_PD.mutable_data_ptr<float>();
  parallel_each(routes.block_count(), routes.P() * D * H, [&](int64_t i) {
    const auto [e, begin, count] = routes.blocks[i];
    static thread_local Buffer own_z, own_a;
    float* z =
        z_PH.defined() ? z_PH.mutable_data_ptr<float>() + begin * H : own_z.at_least(count * H);
    float* a = own_a.at_least(count * H);
    up.multiply({rows.data() + begin, static_cast<size_t>(count)}, e, z);
    bias_gelu(z, a, H, b1 + e * H, count, H);
    down.multiply(row_pointers(a, H, 0, count), e, y + begin * D);
    add_bias(y + begin * D, D, b2 + e * D, count, D);
  });
  const at::Tensor out_TD = at::empty_like(in[0]);
  routes.combine(y, in[1].const_data_ptr<float>(), D, out_TD.mutable_data_ptr<float>());
  return out_TD;
}

// The same with weights in 8 bits; the hidden row goes back to 8 bits between the two products.
at::Tensor forward_int8(const Routes& routes, const Sizes& sizes, const Tensors& in,
                        std::span<const Int8Panels> up, std::span<const Int8Panels> down) {
  const auto [D, H, E] = sizes;
  const float *b1 = in[3].const_data_ptr<float>(), *b2 = in[5].const_data_ptr<float>();
  const float* x = in[0].const_data_ptr<float>();
  const at::Tensor y_PD = at::empty({routes.P(), D}, in[0].options());
  float* y = y_PD.mutable_data_ptr<float>();
  parallel_each(routes.block_count(), routes.P() * D * H, [&](int64_t i) {
    const auto [e, begin, count] = routes.blocks[i];
    static thread_local Buffer own_a;
    static thread_local Int8Rows rows;
    float* a = own_a.at_least(count * H);
    rows.reshape(count, D, up[e].tile());
    for (int64_t r = 0; r < count; ++r) rows.fill(r, x + routes.tokens[begin + r] * D);
    multiply(rows.rows(), up[e], 0, up[e].count(), b1 + e * H, /*gelu=*/true, a, H);
    rows.reshape(count, H, down[e].tile());
    for (int64_t r = 0; r < count; ++r) rows.fill(r, a + r * H);
    multiply(rows.rows(), down[e], 0, down[e].count(), b2 + e * D, /*gelu=*/false, y + begin * D,
             D);
  });
  const at::Tensor out_TD = at::empty_like(in[0]);
  routes.combine(y, in[1].const_data_ptr<float>(), D, out_TD.mutable_data_ptr<float>());
  return out_TD;
}

// With u = W2^T dy: d weight = u . a + dy . b2, dz = weight * u * gelu'(z), dx = W1^T dz, so that
// no output of a pair is needed again. In bf16 it is dy that is rounded, and weight * a for dW2.
Tensors backward(const Routes& routes, const Sizes& sizes, const at::Tensor& z_PH,
                 const at::Tensor& dy_TD, const Tensors& in, const std::vector<bool>& needed,
                 const Bf16Tile* bf16) {
  const auto [D, H, E] = sizes;
  const int64_t P = routes.P(), blocks = routes.block_count();
  const float *weights = in[1].const_data_ptr<float>(), *b2 = in[5].const_data_ptr<float>();
  const float* z = z_PH.const_data_ptr<float>();
  const RightMatrices down(in[4], Side::as_it_stands, routes.blocks, bf16);
  std::optional<const RightMatrices> up;
  if (needed[0]) up.emplace(in[2], Side::as_it_stands, routes.blocks, bf16);
  const std::vector<const float*> dy_rows =
      row_pointers(dy_TD.const_data_ptr<float>(), D, 0, P, routes.tokens.data());

  Tensors grads(6);
  for (size_t i = 0; i < grads.size(); ++i) {
    if (needed[i]) grads[i] = at::empty_like(in[i]);
  }
  const auto grad = [&](size_t i) {
    return needed[i] ? grads[i].mutable_data_ptr<float>() : nullptr;
  };
  const at::Tensor dz_PH = at::empty_like(z_PH), wa_PH = at::empty_like(z_PH);  // wa = weight * a
  const at::Tensor dx_PD = needed[0] ? at::empty({P, D}, in[0].options()) : at::Tensor();
  float *dz = dz_PH.mutable_data_ptr<float>(), *wa = wa_PH.mutable_data_ptr<float>();
  Buffer b1_buffer, b2_buffer;
  float *b1_parts = b1_buffer.at_least(blocks * H), *b2_parts = b2_buffer.at_least(blocks * D);
  parallel_each(blocks, P * D * H, [&](int64_t i) {
    const auto [e, begin, count] = routes.blocks[i];
    static thread_local Buffer own_u;
    float* u = own_u.at_least(count * H);
    down.multiply({dy_rows.data() + begin, static_cast<size_t>(count)}, e, u);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t p = begin + r;
      const float dot =
          gated_gelu_backward(z + p * H, u + r * H, weights[p], H, dz + p * H, wa + p * H);
      if (needed[1]) grad(1)[p] = dot + inner_product(dy_rows[p], b2 + e * D, D);
    }
    if (needed[3]) sum_rows(dz + begin * H, H, count, H, b1_parts + i * H);
    if (needed[5]) {
      weighted_sum(dy_rows.data() + begin, D, count, weights + begin, b2_parts + i * D);
    }
    if (needed[0]) {
      up->multiply(row_pointers(dz, H, begin, count), e,
                   dx_PD.mutable_data_ptr<float>() + begin * D);
    }
  });
  if (needed[0]) routes.combine(dx_PD.const_data_ptr<float>(), nullptr, D, grad(0));
  if (needed[2]) {
    const std::vector<const float*> x_rows =
        row_pointers(in[0].const_data_ptr<float>(), D, 0, P, routes.tokens.data());
    weight_gradients(row_pointers(dz, H, 0, P), H, x_rows, D, routes.offsets, grad(2), bf16);
  }
  if (needed[3]) sum_blocks(b1_parts, routes.blocks, H, E, grad(3));
  if (needed[4])
    weight_gradients(dy_rows, D, row_pointers(wa, H, 0, P), H, routes.offsets, grad(4), bf16);
  if (needed[5]) sum_blocks(b2_parts, routes.blocks, D, E, grad(5));
  return grads;
}

Tensors contiguous(const Tensors& tensors) {
  Tensors result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.contiguous());
  return result;
}

}  // namespace

at::Tensor grouped_mlp_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                 const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                 const GroupedMlpWeights& mlp) {
  sizes_of(x_TD, offsets, tokens_P, weights_P, mlp);
  const at::Tensor loads = offsets.diff();
  const std::vector<int64_t> counts(loads.const_data_ptr<int64_t>(),
                                    loads.const_data_ptr<int64_t>() + loads.numel());
  const auto groups = x_TD.index_select(0, tokens_P).split_with_sizes(counts);
  const auto gates = weights_P.split_with_sizes(counts);
  std::vector<at::Tensor> outputs;
  for (size_t e = 0; e < groups.size(); ++e) {
    const auto expert = static_cast<int64_t>(e);
    const at::Tensor hidden =
        linear_gelu_reference(groups[e], mlp.w1_EHD.select(0, expert), mlp.b1_EH.select(0, expert));
    const at::Tensor w2 = mlp.w2_EDH.select(0, expert), b2 = mlp.b2_ED.select(0, expert);
    const at::Tensor gate = gates[e].unsqueeze(1);
    // In bf16 the kernel rounds what arrives before it is multiplied by the weights, not after.
    outputs.push_back(PrecisionGuard::active() == Precision::bf16
                          ? bf16_product(hidden, w2, gates[e]).add(gate.mul(b2))
                          : at::linear(hidden, w2, b2).mul(gate));
  }
  return at::zeros_like(x_TD).index_add(0, tokens_P, at::cat(outputs));
}

at::Tensor grouped_mlp(const at::Tensor& x_TD, const at::Tensor& given_offsets,
                       const at::Tensor& given_tokens, const at::Tensor& weights_P,
                       const GroupedMlpWeights& mlp) {
  // The numbers in memory are to be those of the tensor.
  const at::Tensor offsets = given_offsets.resolve_neg(), tokens_P = given_tokens.resolve_neg();
  const Sizes sizes = sizes_of(x_TD, offsets, tokens_P, weights_P, mlp);
  const Tensors inputs{x_TD, weights_P, mlp.w1_EHD, mlp.b1_EH, mlp.w2_EDH, mlp.b2_ED};
  if (!x_TD.is_cpu() && !ReferenceGuard::active() && has_grouped_products(x_TD, mlp)) {
    return grouped_mlp_device(x_TD, offsets, tokens_P, weights_P, mlp);
  }
  // Kernels sum over something.
  if (!has_kernel(inputs) || sizes.D == 0 || sizes.H == 0) {
    return grouped_mlp_reference(x_TD, offsets, tokens_P, weights_P, mlp);
  }
  const auto routes =
      std::make_shared<const Routes>(offsets.contiguous(), tokens_P.contiguous(), x_TD.size(0));
  if (!wants_graph(inputs)) {
    const auto in_8_bits = Int8Guard::find({mlp.w1_EHD, mlp.w2_EDH});
    if (!in_8_bits.empty()) {
      return forward_int8(*routes, sizes, contiguous(inputs), in_8_bits[0], in_8_bits[1]);
    }
  }
  const Bf16Tile* bf16 = product_tile();
  at::Tensor y_TD, z_PH;
  if (wants_graph(inputs)) z_PH = at::empty({routes->P(), sizes.H}, x_TD.options());
  {
    const at::NoGradGuard no_grad;
    y_TD = forward(*routes, sizes, contiguous(inputs), z_PH, bf16);
  }
  set_derivative({y_TD}, inputs,
                 {"GroupedMlp",
                  [routes, sizes, z_PH, bf16](const Tensors& grads, const Tensors& in,
                                              const std::vector<bool>& needed) {
                    return backward(*routes, sizes, z_PH, grads[0].contiguous(), contiguous(in),
                                    needed, bf16);
                  },
                  // Of its own index arrays: those that were given may have been changed since.
                  [routes, precision = PrecisionGuard::active()](const Tensors& in) {
                    const PrecisionGuard guard(precision);
                    return Tensors{grouped_mlp_reference(in[0], at::tensor(routes->offsets),
                                                         at::tensor(routes->tokens), in[1],
                                                         {in[2], in[3], in[4], in[5]})};
                  }});
  return y_TD;
}

}  // namespace gallop::ops
