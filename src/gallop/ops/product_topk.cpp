#include "gallop/ops/product_topk.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/topk_mask.h"

namespace gallop::ops {

namespace {

// NaN, that of +inf - inf among them, is below everything; so a score never falls as a half rises.
template <class Scalar>
Scalar ordered(Scalar x) {
  return std::isnan(x) ? -std::numeric_limits<Scalar>::infinity() : x;
}

// One row. All pairs that are better than the K-th lie among the best of both halves: of a pair
// outside them K others of the same row or column are at least as good. Those that equal the K-th
// may lie elsewhere, at a smaller index.
template <class Scalar>
class ProductRow {
 public:
  ProductRow(const Scalar* a, int64_t N, const Scalar* b, int64_t M) : a_(a), b_(b), N_(N), M_(M) {}

  void select(const int64_t* best_a, int64_t Ka, const int64_t* best_b, int64_t Kb, int64_t K,
              int64_t* index) {
    pairs_.clear();
    for (int64_t s = 0; s < Ka; ++s) {
      // (s+1)(t+1) - 1 others are at least as good as pair (s, t).
      for (int64_t t = 0; t < Kb && (s + 1) * (t + 1) <= K; ++t) add(best_a[s], best_b[t]);
    }
    const auto last = pairs_.begin() + (K - 1);
    std::nth_element(pairs_.begin(), last, pairs_.end(), better);
    const Scalar worst = last->score;
    pairs_.erase(std::remove_if(pairs_.begin(), pairs_.end(),
                                [&](const Pair& pair) { return !(pair.score > worst); }),
                 pairs_.end());
    std::sort(pairs_.begin(), pairs_.end(), [](const Pair& x, const Pair& y) {
      return x.score != y.score ? x.score > y.score : x.index < y.index;
    });
    const Scalar top_b = ordered(b_[best_b[0]]);
    for (int64_t i = 0; i < N_ && static_cast<int64_t>(pairs_.size()) < K; ++i) {
      if (score(ordered(a_[i]), top_b) < worst) continue;
      for (int64_t j = 0; j < M_ && static_cast<int64_t>(pairs_.size()) < K; ++j) {
        if (score(ordered(a_[i]), ordered(b_[j])) == worst) add(i, j);
      }
    }
    for (int64_t k = 0; k < K; ++k) index[k] = pairs_[k].index;
  }

 private:
  struct Pair {
    Scalar score;
    int64_t index;
  };
  static bool better(const Pair& x, const Pair& y) { return x.score > y.score; }
  static Scalar score(Scalar a, Scalar b) { return ordered(a + b); }
  void add(int64_t i, int64_t j) {
    pairs_.push_back({score(ordered(a_[i]), ordered(b_[j])), i * M_ + j});
  }

  const Scalar *a_, *b_;
  int64_t N_, M_;
  std::vector<Pair> pairs_;
};

template <class Scalar>
at::Tensor on_cpu(const at::Tensor& a_RN, const at::Tensor& b_RM, int64_t K) {
  const int64_t R = a_RN.size(0), N = a_RN.size(1), M = b_RM.size(1);
  const int64_t Ka = std::min(K, N), Kb = std::min(K, M);
  const at::Tensor best_a = topk(a_RN, Ka), best_b = topk(b_RM, Kb);
  at::Tensor index_RK = at::empty({R, K}, at::TensorOptions(at::kLong));
  const Scalar *a = a_RN.const_data_ptr<Scalar>(), *b = b_RM.const_data_ptr<Scalar>();
  const int64_t *of_a = best_a.const_data_ptr<int64_t>(), *of_b = best_b.const_data_ptr<int64_t>();
  int64_t* index = index_RK.mutable_data_ptr<int64_t>();
  parallel_parts(R, 4, N + M + K * 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      ProductRow<Scalar>(a + r * N, N, b + r * M, M)
          .select(of_a + r * Ka, Ka, of_b + r * Kb, Kb, K, index + r * K);
    }
  });
  return index_RK;
}

at::Tensor of_best_halves(const at::Tensor& a_RN, const at::Tensor& b_RM, int64_t K) {
  const int64_t R = a_RN.size(0), N = a_RN.size(1), M = b_RM.size(1);
  // By index, so that of equal scores the smaller one is first.
  const at::Tensor i_RS = std::get<0>(topk(a_RN, std::min(K, N)).sort(1));
  const at::Tensor j_RS = std::get<0>(topk(b_RM, std::min(K, M)).sort(1));
  const auto all = [&](const at::Tensor& of_a, const at::Tensor& of_b) {
    return of_a.unsqueeze(2).add(of_b.unsqueeze(1)).reshape({R, -1});
  };
  const at::Tensor score = all(a_RN.gather(1, i_RS), b_RM.gather(1, j_RS));
  return all(i_RS.mul(M), j_RS).gather(1, topk(score, K));
}

}  // namespace

at::Tensor product_topk(const at::Tensor& a_RN, const at::Tensor& b_RM, int64_t K) {
  require(a_RN.dim() == 2 && b_RM.dim() == 2 && a_RN.size(0) == b_RM.size(0) &&
              a_RN.scalar_type() == b_RM.scalar_type(),
          "product_topk: two halves of scores of one type, [rows, N] and [rows, M], got ",
          a_RN.sizes(), " and ", b_RM.sizes());
  require(K >= 0 && K <= a_RN.size(1) * b_RM.size(1), "product_topk: K = ", K, " of ", a_RN.size(1),
          " x ", b_RM.size(1), " candidates");
  const at::NoGradGuard no_grad;
  const auto type = a_RN.scalar_type();
  if (K == 0) return at::empty({a_RN.size(0), 0}, a_RN.options().dtype(at::kLong));
  if (!a_RN.is_cpu() || (type != at::kFloat && type != at::kDouble)) {
    return of_best_halves(a_RN, b_RM, K);
  }
  const at::Tensor a = a_RN.contiguous(), b = b_RM.contiguous();
  return type == at::kFloat ? on_cpu<float>(a, b, K) : on_cpu<double>(a, b, K);
}

}  // namespace gallop::ops
