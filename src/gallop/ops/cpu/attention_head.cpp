#include "gallop/ops/cpu/attention_head.h"

#include <algorithm>
#include <vector>

#include "gallop/ops/cpu/gemm.h"
#include "gallop/ops/cpu/softmax.h"

namespace gallop::ops {

namespace {

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

// Behind rows of scores that are cut: where the eight numbers of a group may end.
constexpr int64_t group = 8;

// exp(scale * (s - max)) of the scores that a query sees, and zeros in the place of the others.
void numerators(const AttentionHead& head, int64_t begin, int64_t rows, float* scores, int64_t ld,
                float* inverse) {
  if (head.spans == nullptr) {
    return softmax_numerators(scores, ld, rows, head.K, head.scale, inverse);
  }
  for (int64_t r = 0; r < rows; ++r, scores += ld) {
    const auto [first, last] = head.spans[begin + r];
    softmax_numerators(scores + first, ld, 1, last - first, head.scale, inverse + r);
    std::fill(scores, scores + first, 0.0F);
    std::fill(scores + last, scores + ld, 0.0F);
  }
}

// The distance of rows of scores.
int64_t row_of_scores(const AttentionHead& head, const Panels& keys) {
  return keys.padded_N() + (head.spans == nullptr ? 0 : group);
}

}  // namespace

void attend(const AttentionHead& head, float* out, int64_t ldo) {
  Scratch& own = scratch();
  const int64_t Q = head.Q, K = head.K, d = head.d, ld = head.ld;
  prefetch(head.k, ld, K, d);
  prefetch(head.v, ld, K, d);
  prefetch(head.q, ld, Q, d);
  fill(own.keys, head.k, ld, K, d, /*transposed=*/true);
  fill(own.values, head.v, ld, K, d, /*transposed=*/false);
  const int64_t width = row_of_scores(head, own.keys), most = std::min(block_rows(), Q);
  float *scores = own.scores.at_least(most * width), *inverse = own.inverse.at_least(most);
  for (int64_t begin = 0; begin < Q; begin += most) {
    const int64_t count = std::min(most, Q - begin);
    multiply(head.q + begin * ld, ld, 1, count, own.keys, scores, width, /*scores=*/true);
    numerators(head, begin, count, scores, width, inverse);
    multiply(scores, width, 1, count, own.values, out + begin * ldo, ldo);
    scale_rows(out + begin * ldo, ldo, count, d, inverse);
  }
}

// With dP = dO V^T and dS = scale * P * (dP - sum(P * dP)): dQ = dS K, dK = dS^T Q, dV = P^T dO.
void attend_backward(const AttentionHead& head, const float* dout, int64_t ldo, float* dq,
                     float* dk, float* dv) {
  Scratch& own = scratch();
  const int64_t Q = head.Q, K = head.K, d = head.d, ld = head.ld;
  fill(own.keys, head.k, ld, K, d, /*transposed=*/true);
  fill(own.values, head.v, ld, K, d, /*transposed=*/true);
  const int64_t width = row_of_scores(head, own.keys);
  float *p = own.scores.at_least(Q * width), *ds = own.score_slopes.at_least(Q * width);
  float* inverse = own.inverse.at_least(Q);
  multiply(head.q, ld, 1, Q, own.keys, p, width, /*scores=*/true);
  numerators(head, 0, Q, p, width, inverse);
  scale_rows(p, width, Q, K, inverse);
  multiply(dout, ldo, 1, Q, own.values, ds, width, /*scores=*/true);
  softmax_backward(p, ds, width, Q, K, head.scale);

  fill(own.keys, head.k, ld, K, d, /*transposed=*/false);
  fill(own.queries, head.q, ld, Q, d, /*transposed=*/false);
  fill(own.slopes, dout, ldo, Q, d, /*transposed=*/false);
  multiply(ds, width, 1, Q, own.keys, dq, ld);
  multiply(ds, 1, width, K, own.queries, dk, ld);
  multiply(p, 1, width, K, own.slopes, dv, ld);
}

}  // namespace gallop::ops
