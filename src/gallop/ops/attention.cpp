#include "gallop/ops/attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/gemm.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/cpu/softmax.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {

namespace {

using Tensors = std::vector<at::Tensor>;
constexpr int64_t most_tokens = 1024;

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

// One head of one sample: its rows in qkv and in the output.
struct Head {
  int64_t L, d, D;
  const float *q, *k, *v;  // rows 3 * D apart

  Head(const Sizes& s, const float* qkv, int64_t task)
      : L(s.L), d(s.d), D(s.D()), q(qkv + offset(s, task, 3 * s.D())), k(q + D), v(k + D) {}
  // Of the first number of this head in rows of `width` numbers.
  static int64_t offset(const Sizes& s, int64_t task, int64_t width) {
    return task / s.heads * s.L * width + task % s.heads * s.d;
  }
  int64_t ld() const { return 3 * D; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(d)); }
};

// The scratch memory of a thread.
struct Scratch {
  Panels keys, values, queries, slopes;
  Buffer scores, score_slopes, inverse;
  std::vector<const float*> rows;
};
Scratch& scratch() {
  static thread_local Scratch own;
  return own;
}

// [L, d] with rows ld apart as the right-hand matrix of a product, or its transpose.
void fill(Panels& panels, const float* b, int64_t ld, int64_t L, int64_t d, bool transposed) {
  panels.reshape(transposed ? d : L, transposed ? L : d);
  for (int64_t p = 0; p < panels.count(); ++p) {
    if (transposed) {
      panels.fill_transposed(p, b, ld);
    } else {
      panels.fill(p, b, ld);
    }
  }
}

// c = A B, A with rows `ld` and columns `stride` apart. Scores are written with the zeros behind
// them.
void multiply(const float* a, int64_t ld, int64_t stride, int64_t rows, const Panels& b, float* c,
              int64_t ldc, bool scores = false) {
  std::vector<const float*>& row = scratch().rows;
  row.resize(rows);
  for (int64_t r = 0; r < rows; ++r) row[r] = a + r * ld;
  multiply({row.data(), rows, stride}, b, 0, b.count(), c, ldc, scores);
}

// The rows of a head lie far apart, and no prefetcher of a processor foresees the next one.
void prefetch(const float* rows, int64_t ld, int64_t L, int64_t d) {
  constexpr int64_t line = 64 / sizeof(float);
  for (int64_t l = 0; l < L; ++l, rows += ld) {
    for (int64_t i = 0; i < d; i += line) __builtin_prefetch(rows + i, 0, 2);
  }
}

void forward(const Head& head, float* out) {
  Scratch& own = scratch();
  const int64_t L = head.L, d = head.d, ld = head.ld();
  for (const float* rows : {head.k, head.v, head.q}) prefetch(rows, ld, L, d);
  fill(own.keys, head.k, ld, L, d, /*transposed=*/true);
  fill(own.values, head.v, ld, L, d, /*transposed=*/false);
  const int64_t width = own.keys.padded_N(), most = std::min(block_rows(), L);
  float *scores = own.scores.at_least(most * width), *inverse = own.inverse.at_least(most);
  for (int64_t begin = 0; begin < L; begin += most) {
    const int64_t count = std::min(most, L - begin);
    multiply(head.q + begin * ld, ld, 1, count, own.keys, scores, width, /*scores=*/true);
    softmax_numerators(scores, width, count, L, head.scale(), inverse);
    multiply(scores, width, 1, count, own.values, out + begin * head.D, head.D);
    scale_rows(out + begin * head.D, head.D, count, d, inverse);
  }
}

// With dP = dO V^T and dS = scale * P * (dP - sum(P * dP)): dQ = dS K, dK = dS^T Q, dV = P^T dO.
void backward(const Head& head, const float* dout, float* dqkv) {
  Scratch& own = scratch();
  const int64_t L = head.L, d = head.d, D = head.D, ld = head.ld();
  fill(own.keys, head.k, ld, L, d, /*transposed=*/true);
  fill(own.values, head.v, ld, L, d, /*transposed=*/true);
  const int64_t width = own.keys.padded_N();
  float *p = own.scores.at_least(L * width), *ds = own.score_slopes.at_least(L * width);
  float* inverse = own.inverse.at_least(L);
  multiply(head.q, ld, 1, L, own.keys, p, width, /*scores=*/true);
  softmax_numerators(p, width, L, L, head.scale(), inverse);
  scale_rows(p, width, L, L, inverse);
  multiply(dout, D, 1, L, own.values, ds, width, /*scores=*/true);
  softmax_backward(p, ds, width, L, L, head.scale());

  fill(own.keys, head.k, ld, L, d, /*transposed=*/false);
  fill(own.queries, head.q, ld, L, d, /*transposed=*/false);
  fill(own.slopes, dout, D, L, d, /*transposed=*/false);
  multiply(ds, width, 1, L, own.keys, dqkv, ld);
  multiply(ds, 1, width, L, own.queries, dqkv + D, ld);
  multiply(p, 1, width, L, own.slopes, dqkv + 2 * D, ld);
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
  if (!has_kernel({qkv_BLX}) || s.L > most_tokens) return self_attention_reference(qkv_BLX, heads);
  at::Tensor y_BLD;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor qkv = qkv_BLX.contiguous();
    y_BLD = at::empty({s.B, s.L, s.D()}, qkv.options());
    float* out = y_BLD.mutable_data_ptr<float>();
    parallel_each(s.B * s.heads, [&](int64_t task) {
      forward(Head(s, qkv.const_data_ptr<float>(), task), out + Head::offset(s, task, s.D()));
    });
  }
  const auto gradients = [s](const Tensors& grads, const Tensors& in, const std::vector<bool>&) {
    const at::Tensor qkv = in[0].contiguous(), dout = grads[0].contiguous();
    const at::Tensor dqkv = at::empty_like(qkv);
    parallel_each(s.B * s.heads, [&](int64_t task) {
      backward(Head(s, qkv.const_data_ptr<float>(), task),
               dout.const_data_ptr<float>() + Head::offset(s, task, s.D()),
               dqkv.mutable_data_ptr<float>() + Head::offset(s, task, 3 * s.D()));
    });
    return Tensors{dqkv};
  };
  set_derivative({y_BLD}, {qkv_BLX}, {"SelfAttention", gradients, [heads](const Tensors& in) {
                                        return Tensors{composed(in[0], heads)};
                                      }});
  return y_BLD;
}

}  // namespace gallop::ops
