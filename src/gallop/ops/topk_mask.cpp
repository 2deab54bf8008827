#include "gallop/ops/topk_mask.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gallop/base/error.h"

namespace gallop::ops {

namespace {

void check(const at::Tensor& key_RN, int64_t K) {
  require(key_RN.dim() == 2, "topk_mask: the key must be [rows, columns], got ", key_RN.sizes());
  require(K >= 0 && K <= key_RN.size(1), "topk_mask: K = ", K, " of ", key_RN.size(1), " columns");
}

template <class Scalar>
struct Entry {
  Scalar value;
  int64_t index;
};

// Marks the K best of one row and returns the index of the worst of them.
template <class Scalar>
int64_t select_row(const Scalar* key, int64_t N, int64_t K, std::vector<Entry<Scalar>>& scratch,
                   bool* mask) {
  scratch.resize(N);
  for (int64_t n = 0; n < N; ++n) {
    // NaN would break the strict order that nth_element relies on.
    scratch[n] = {std::isnan(key[n]) ? -std::numeric_limits<Scalar>::infinity() : key[n], n};
  }
  const auto before = [](const Entry<Scalar>& a, const Entry<Scalar>& b) {
    return a.value != b.value ? a.value > b.value : a.index < b.index;
  };
  std::nth_element(scratch.begin(), scratch.begin() + (K - 1), scratch.end(), before);
  for (int64_t i = 0; i < K; ++i) mask[scratch[i].index] = true;
  return scratch[K - 1].index;
}

template <class Scalar>
TopK on_cpu(const at::Tensor& key_RN, int64_t K) {
  const int64_t R = key_RN.size(0), N = key_RN.size(1);
  TopK result{at::zeros({R, N}, at::TensorOptions(at::kBool)),
              at::empty({R}, at::TensorOptions(at::kLong))};
  const Scalar* key = key_RN.const_data_ptr<Scalar>();
  bool* mask = result.mask_RN.mutable_data_ptr<bool>();
  int64_t* last = result.last_R.mutable_data_ptr<int64_t>();
  at::parallel_for(0, R, std::max<int64_t>(1, 32768 / N), [&](int64_t begin, int64_t end) {
    std::vector<Entry<Scalar>> scratch;
    for (int64_t r = begin; r < end; ++r) {
      last[r] = select_row(key + r * N, N, K, scratch, mask + r * N);
    }
  });
  return result;
}

}  // namespace

TopK topk_mask_reference(const at::Tensor& key_RN, int64_t K) {
  check(key_RN, K);
  const at::NoGradGuard no_grad;
  TopK result{at::zeros(key_RN.sizes(), key_RN.options().dtype(at::kBool)), {}};
  if (K == 0) return result;
  const at::Tensor key = key_RN.nan_to_num(-std::numeric_limits<double>::infinity(),
                                           std::numeric_limits<double>::infinity(),
                                           -std::numeric_limits<double>::infinity());
  const at::Tensor order =
      std::get<1>(at::sort(key, /*stable=*/true, /*dim=*/1, /*descending=*/true)).narrow(1, 0, K);
  result.mask_RN.scatter_(1, order, true);
  result.last_R = order.select(1, K - 1).contiguous();
  return result;
}

TopK topk_mask(const at::Tensor& key_RN, int64_t K) {
  check(key_RN, K);
  const auto type = key_RN.scalar_type();
  if (K == 0 || !key_RN.is_cpu() || (type != at::kFloat && type != at::kDouble)) {
    return topk_mask_reference(key_RN, K);
  }
  const at::NoGradGuard no_grad;
  const at::Tensor contiguous = key_RN.contiguous();
  return type == at::kFloat ? on_cpu<float>(contiguous, K) : on_cpu<double>(contiguous, K);
}

}  // namespace gallop::ops
