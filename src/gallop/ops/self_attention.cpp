#include "gallop/ops/self_attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <cmath>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/attention_head.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {

namespace {

using Tensors = std::vector<at::Tensor>;

struct Sizes {
  int64_t B, L, heads, d;
  int64_t D() const { return heads * d; }
};

Sizes sizes_of(const at::Tensor& qkv_BLX, int64_t heads) {
  // Without a product of `heads`, which may be any number.
  const int64_t D = qkv_BLX.dim() == 3 ? qkv_BLX.size(2) / 3 : 0;
  require(heads > 0 && heads <= D && qkv_BLX.size(2) % 3 == 0 && D % heads == 0,
          "self_attention: qkv must be [B, L, 3 * heads * d], got ", qkv_BLX.sizes(), " for ",
          heads, " heads");
  return {qkv_BLX.size(0), qkv_BLX.size(1), heads, D / heads};
}

AttentionHead head_of(const Sizes& s, const float* qkv, int64_t task) {
  const float* q = qkv + head_offset(s.L, s.heads, s.d, task, 3 * s.D());
  return {.Q = s.L,
          .K = s.L,
          .d = s.d,
          .scale = attention_scale(s.d),
          .q = q,
          .k = q + s.D(),
          .v = q + 2 * s.D(),
          .ld = 3 * s.D()};
}

// q, k and v of [B, heads, L, d], joined again by `attend`.
template <class Attend>
at::Tensor by_heads(const at::Tensor& qkv_BLX, int64_t heads, const Attend& attend) {
  const auto s = sizes_of(qkv_BLX, heads);
  const at::Tensor qkv_3BNLd = qkv_BLX.reshape({s.B, s.L, 3, heads, s.d}).permute({2, 0, 3, 1, 4});
  const at::Tensor y_BNLd =
      attend(qkv_3BNLd.select(0, 0), qkv_3BNLd.select(0, 1), qkv_3BNLd.select(0, 2));
  return y_BNLd.transpose(1, 2).reshape({s.B, s.L, s.D()});
}

// ATen's fused attention has no second derivative.
at::Tensor composed(const at::Tensor& qkv_BLX, int64_t heads) {
  return by_heads(qkv_BLX, heads,
                  [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                    const double scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
                    return q.mul(scale).matmul(k.transpose(-2, -1)).softmax(-1).matmul(v);
                  });
}

}  // namespace

at::Tensor self_attention_reference(const at::Tensor& qkv_BLX, int64_t heads) {
  if (qkv_BLX.scalar_type() == at::kDouble) return composed(qkv_BLX, heads);
  return by_heads(qkv_BLX, heads,
                  [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                    return at::scaled_dot_product_attention(q, k, v);
                  });
}

at::Tensor self_attention(const at::Tensor& qkv_BLX, int64_t heads) {
  const Sizes s = sizes_of(qkv_BLX, heads);
  if (!has_kernel({qkv_BLX}) || s.L > most_attention_tokens)
    return self_attention_reference(qkv_BLX, heads);
  at::Tensor y_BLD;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor qkv = qkv_BLX.contiguous();
    y_BLD = at::empty({s.B, s.L, s.D()}, qkv.options());
    float* out = y_BLD.mutable_data_ptr<float>();
    parallel_each(s.B * s.heads, [&](int64_t task) {
      attend(head_of(s, qkv.const_data_ptr<float>(), task),
             out + head_offset(s.L, s.heads, s.d, task, s.D()), s.D());
    });
  }
  const auto gradients = [s](const Tensors& grads, const Tensors& in, const std::vector<bool>&) {
    const at::Tensor qkv = in[0].contiguous(), dout = grads[0].contiguous();
    const at::Tensor dqkv = at::empty_like(qkv);
    parallel_each(s.B * s.heads, [&](int64_t task) {
      float* dq = dqkv.mutable_data_ptr<float>() + head_offset(s.L, s.heads, s.d, task, 3 * s.D());
      attend_backward(head_of(s, qkv.const_data_ptr<float>(), task),
                      dout.const_data_ptr<float>() + head_offset(s.L, s.heads, s.d, task, s.D()),
                      s.D(), dq, dq + s.D(), dq + 2 * s.D());
    });
    return Tensors{dqkv};
  };
  set_derivative({y_BLD}, {qkv_BLX}, {"SelfAttention", gradients, [heads](const Tensors& in) {
                                        return Tensors{composed(in[0], heads)};
                                      }});
  return y_BLD;
}

}  // namespace gallop::ops
