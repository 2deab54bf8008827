#include "gallop/ops/attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/attention_head.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {

namespace {

using Tensors = std::vector<at::Tensor>;
using Options = AttentionOptions;

// Whether a query's place among the keys matters.
bool has_places(const Options& o) { return o.causal || o.window || o.segment_BK; }

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Options& o) {
  require(q.defined() && k.defined() && v.defined() && q.dim() == 4 && k.dim() == 4,
          "attention: q must be [B, Q, heads, d], k and v [B, K, heads, d]");
  require(k.sizes() == v.sizes(), "attention: k of ", k.sizes(), " and v of ", v.sizes(),
          " are not of one shape");
  const int64_t Q = q.size(1), K = k.size(1), N = q.size(2), M = k.size(2);
  require(q.size(0) == k.size(0) && q.size(3) == k.size(3), "attention: q of ", q.sizes(),
          " and k of ", k.sizes(), " differ in samples or in the width of a head");
  require(N > 0 && M > 0 && N % M == 0, "attention: ", N, " heads of queries cannot share ", M,
          " heads of keys: give a multiple");
  require(K > 0 && q.size(3) > 0, "attention: no keys, or heads of no width: k is ", k.sizes());
  for (const at::Tensor& other : {k, v}) {
    require(q.scalar_type() == other.scalar_type() && q.device() == other.device(),
            "attention: q, k and v are not of one type on one device");
  }
  require(q.is_floating_point(), "attention: numbers of type ", c10::toString(q.scalar_type()));
  require(!o.window || *o.window >= 1, "attention: a window of ", o.window.value_or(0),
          " places sees nothing: 1 is the query's own");
  const auto scale = static_cast<float>(o.scale.value_or(1));
  require(std::isnormal(scale) && scale > 0, "attention: the scale ", o.scale.value_or(1),
          " is no positive number of single precision");
  require(o.offset >= 0, "attention: the first query at place ", o.offset);
  require((o.offset == 0 && !has_places(o)) || (Q <= K && o.offset <= K - Q), "attention: ", Q,
          " queries from place ", o.offset, " on are not all among ", K, " keys");
  if (!o.segment_BK) return;
  const at::Tensor& segment = *o.segment_BK;
  require(segment.defined() && segment.scalar_type() == at::kLong &&
              segment.layout() == at::kStrided && segment.dim() == 2 &&
              segment.size(0) == k.size(0) && segment.size(1) == K,
          "attention: segments must be int64 [", k.size(0), ", ", K, "]");
  require(segment.device() == q.device(), "attention: segments on another device than q");
}

// bool, [1 or B, 1, Q, K]; undefined where all is seen.
at::Tensor visible(int64_t Q, int64_t K, const Options& o, const at::Device& device) {
  at::Tensor seen;
  const auto also = [&](const at::Tensor& condition) {
    seen = seen.defined() ? seen.logical_and(condition) : condition;
  };
  const auto options = at::TensorOptions(at::kLong).device(device);
  const at::Tensor key_K = at::arange(K, options),
                   ahead_QK = key_K.sub(at::arange(Q, options).add(o.offset).unsqueeze(1));
  if (o.causal) also(ahead_QK.le(0).unsqueeze(0).unsqueeze(0));
  if (o.window) also(ahead_QK.abs().lt(*o.window).unsqueeze(0).unsqueeze(0));
  if (o.segment_BK) {
    const at::Tensor of_queries = o.segment_BK->narrow(1, o.offset, Q);
    also(of_queries.unsqueeze(2).eq(o.segment_BK->unsqueeze(1)).unsqueeze(1));
  }
  return seen;
}

// Spans of the queries of each sample, or of one for all samples.
struct Spans {
  std::vector<Span> all;
  int64_t a_sample = 0;  // between those of two samples
};

// The segments of a sample as spans, one a place; false if one lies in several pieces.
bool cut_segments(const int64_t* segment, int64_t K, std::vector<Span>& at_place) {
  std::set<int64_t> known;
  at_place.resize(static_cast<size_t>(K));
  for (int64_t first = 0; first < K;) {
    int64_t last = first;
    while (last < K && segment[last] == segment[first]) ++last;
    if (!known.insert(segment[first]).second) return false;
    std::fill(at_place.begin() + first, at_place.begin() + last, Span{first, last});
    first = last;
  }
  return true;
}

// What each query sees; nothing where this is no span. None where everything is seen.
std::optional<Spans> spans_of(int64_t B, int64_t Q, int64_t K, const Options& o) {
  Spans spans;
  if (!has_places(o)) return spans;
  at::Tensor segment;
  if (o.segment_BK) segment = o.segment_BK->contiguous();
  if (o.segment_BK) spans.a_sample = Q;
  const int64_t window = std::min(o.window.value_or(K), K);
  std::vector<Span> at_place;
  for (int64_t b = 0; b < (o.segment_BK ? B : 1); ++b) {
    if (segment.defined() &&
        !cut_segments(segment.const_data_ptr<int64_t>() + b * K, K, at_place)) {
      return std::nullopt;
    }
    for (int64_t place = o.offset; place < o.offset + Q; ++place) {
      Span span = segment.defined() ? at_place[static_cast<size_t>(place)] : Span{0, K};
      if (o.causal) span.last = std::min(span.last, place + 1);
      if (o.window) {
        span = {std::max(span.first, place - window + 1), std::min(span.last, place + window)};
      }
      spans.all.push_back(span);
    }
  }
  return spans;
}

// Each head of the keys as often as queries share it.
at::Tensor for_queries(const at::Tensor& k_BKMd, int64_t N) {
  const int64_t M = k_BKMd.size(2);
  return N == M ? k_BKMd : k_BKMd.repeat_interleave(N / M, 2);
}

at::Tensor composed(const at::Tensor& q_BQNd, const at::Tensor& k_BKMd, const at::Tensor& v_BKMd,
                    const Options& o) {
  const int64_t Q = q_BQNd.size(1), N = q_BQNd.size(2), d = q_BQNd.size(3);
  const double scale = o.scale.value_or(1 / std::sqrt(static_cast<double>(d)));
  const at::Tensor k_BNKd = for_queries(k_BKMd, N).transpose(1, 2),
                   v_BNKd = for_queries(v_BKMd, N).transpose(1, 2);
  at::Tensor score_BNQK = q_BQNd.transpose(1, 2).mul(scale).matmul(k_BNKd.transpose(-2, -1));
  const at::Tensor seen = visible(Q, k_BKMd.size(1), o, q_BQNd.device());
  if (seen.defined()) {
    score_BNQK =
        score_BNQK.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
  }
  return score_BNQK.softmax(-1).matmul(v_BNKd).transpose(1, 2);
}

}  // namespace

at::Tensor attention_reference(const at::Tensor& q_BQNd, const at::Tensor& k_BKMd,
                               const at::Tensor& v_BKMd, const AttentionOptions& options) {
  check(q_BQNd, k_BKMd, v_BKMd, options);
  if (q_BQNd.scalar_type() == at::kDouble) return composed(q_BQNd, k_BKMd, v_BKMd, options);
  const int64_t N = q_BQNd.size(2);
  const at::Tensor seen = visible(q_BQNd.size(1), k_BKMd.size(1), options, q_BQNd.device());
  return at::scaled_dot_product_attention(
             q_BQNd.transpose(1, 2), for_queries(k_BKMd, N).transpose(1, 2),
             for_queries(v_BKMd, N).transpose(1, 2),
             seen.defined() ? std::optional<at::Tensor>(seen) : std::nullopt, /*dropout_p=*/0,
             /*is_causal=*/false, options.scale)
      .transpose(1, 2);
}

at::Tensor attention(const at::Tensor& q_BQNd, const at::Tensor& k_BKMd, const at::Tensor& v_BKMd,
                     const AttentionOptions& options) {
  check(q_BQNd, k_BKMd, v_BKMd, options);
  const int64_t B = q_BQNd.size(0), Q = q_BQNd.size(1), N = q_BQNd.size(2), d = q_BQNd.size(3),
                K = k_BKMd.size(1);
  const bool has = has_kernel({q_BQNd, k_BKMd, v_BKMd}) && Q <= most_attention_tokens &&
                   K <= most_attention_tokens;
  const std::optional<Spans> found = has ? spans_of(B, Q, K, options) : std::nullopt;
  if (!found) return attention_reference(q_BQNd, k_BKMd, v_BKMd, options);
  if (k_BKMd.size(2) != N) {
    return attention(q_BQNd, for_queries(k_BKMd, N), for_queries(v_BKMd, N), options);
  }

  const float scale = options.scale ? static_cast<float>(*options.scale) : attention_scale(d);
  const auto head = [=, spans = *found](const Tensors& of, int64_t task) {
    const int64_t at_keys = head_offset(K, N, d, task, N * d);
    return AttentionHead{
        .Q = Q,
        .K = K,
        .d = d,
        .scale = scale,
        .q = of[0].const_data_ptr<float>() + head_offset(Q, N, d, task, N * d),
        .k = of[1].const_data_ptr<float>() + at_keys,
        .v = of[2].const_data_ptr<float>() + at_keys,
        .ld = N * d,
        .spans = spans.all.empty() ? nullptr : spans.all.data() + task / N * spans.a_sample};
  };
  const auto contiguous = [](const Tensors& in) {
    return Tensors{in[0].contiguous(), in[1].contiguous(), in[2].contiguous()};
  };
  const Tensors inputs{q_BQNd, k_BKMd, v_BKMd};
  at::Tensor y_BQNd;
  {
    const at::NoGradGuard no_grad;
    const Tensors of = contiguous(inputs);
    y_BQNd = at::empty({B, Q, N, d}, of[0].options());
    float* out = y_BQNd.mutable_data_ptr<float>();
    parallel_each(B * N, [&](int64_t task) {
      attend(head(of, task), out + head_offset(Q, N, d, task, N * d), N * d);
    });
  }
  const auto gradients = [=](const Tensors& grads, const Tensors& in,
                             const std::vector<bool>& needed) {
    const Tensors of = contiguous(in);
    const at::Tensor dout = grads[0].contiguous();
    Tensors result{at::empty_like(of[0]), at::empty_like(of[1]), at::empty_like(of[2])};
    parallel_each(B * N, [&](int64_t task) {
      const int64_t at_queries = head_offset(Q, N, d, task, N * d),
                    at_keys = head_offset(K, N, d, task, N * d);
      attend_backward(head(of, task), dout.const_data_ptr<float>() + at_queries, N * d,
                      result[0].mutable_data_ptr<float>() + at_queries,
                      result[1].mutable_data_ptr<float>() + at_keys,
                      result[2].mutable_data_ptr<float>() + at_keys);
    });
    for (size_t i = 0; i < result.size(); ++i) {
      if (!needed[i]) result[i] = at::Tensor();
    }
    return result;
  };
  // Segments may change until a second derivative is taken.
  Options kept = options;
  if (kept.segment_BK) kept.segment_BK = kept.segment_BK->clone();
  set_derivative({y_BQNd}, inputs, {"Attention", gradients, [kept](const Tensors& in) {
                                      return Tensors{composed(in[0], in[1], in[2], kept)};
                                    }});
  return y_BQNd;
}

}  // namespace gallop::ops
