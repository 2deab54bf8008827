#pragma once

#include <cmath>
#include <cstdint>

/// Attention of one head of one sample: a task of the operators of attention.h, with the scores in
/// the cache of a thread.
namespace gallop::ops {

/// Queries and keys that the scratch memory of a thread is meant for.
constexpr int64_t most_attention_tokens = 1024;

/// The keys first <= k < last that a query sees, one at least.
struct Span {
  int64_t first, last;
};

/// The head's rows in q, k and v.
struct AttentionHead {
  int64_t Q, K, d;  ///< queries, keys, width
  float scale;      ///< of the scores, above 0
  const float *q, *k, *v;
  int64_t ld;                   ///< between rows of all three
  const Span* spans = nullptr;  ///< one a query; null: every query sees all keys
};

/// 1 / sqrt(d).
inline float attention_scale(int64_t d) { return 1.0F / std::sqrt(static_cast<float>(d)); }

/// Where the first number of head `task` % heads of sample `task` / heads stands, in L rows of
/// `width` numbers a sample.
inline int64_t head_offset(int64_t L, int64_t heads, int64_t d, int64_t task, int64_t width) {
  return task / heads * L * width + task % heads * d;
}

/// out [Q, d], rows `ldo` apart.
void attend(const AttentionHead& head, float* out, int64_t ldo);
/// The gradients of q, k and v, with rows as these have, for dout [Q, d].
void attend_backward(const AttentionHead& head, const float* dout, int64_t ldo, float* dq,
                     float* dk, float* dv);

}  // namespace gallop::ops
