#include "gallop/ops/topk_mask.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/cpu/select.h"

namespace gallop::ops {

namespace {

void check(const at::Tensor& key_RN, int64_t K) {
  require(key_RN.dim() == 2, "topk_mask: the key must be [rows, columns], got ", key_RN.sizes());
  require(K >= 0 && K <= key_RN.size(1), "topk_mask: K = ", K, " of ", key_RN.size(1), " columns");
}

// The largest scores of one row by radix selection: digits of 12, 12 and 8 bits, most significant
// first, so that the time is linear whatever the scores. Keys of a digit above that of the K-th are
// in, those below are out, and those that share it go on to the next digit.
class RowSelection {
 public:
  RowSelection(const float* score, int64_t N, bool* mask)
      : score_(score), N_(N), mask_(mask), parts_{N, part} {}

  /// Marks the K best and returns the index of the worst of them.
  int64_t select(int64_t K) {
    static thread_local std::vector<uint32_t> key_memory;
    static thread_local std::vector<Candidate> candidate_memory;
    key_memory.resize(N_);
    key_ = key_memory.data();
    std::vector<Candidate>& candidates = candidate_memory;
    const Digit first = mark_by_first_digit(K, candidates);
    int64_t wanted = first.wanted;
    for (const int shift : {8, 0}) wanted = mark_by_digit(shift, wanted, candidates);
    // What is left is equal, and in the order of the index.
    for (int64_t i = 0; i < wanted; ++i) mask_[candidates[i].index] = true;
    return candidates[wanted - 1].index;
  }

 private:
  static constexpr int64_t part = 65536;
  static constexpr int first_shift = 20;
  struct Digit {
    uint32_t digit;
    int64_t wanted;  ///< of the keys that share it
  };

  // Two passes over a piece find it in the first-level cache.
  template <class Body>
  static void for_each_piece(int64_t begin, int64_t size, const Body& body) {
    const Parts pieces{size, 2048};
    for (int64_t i = 0; i < pieces.count(); ++i) body(begin + pieces.begin(i), pieces.length(i));
  }

  // The digit of the K-th key.
  static Digit find(const int64_t* counts, int64_t K) {
    int64_t d = digits - 1;
    while (counts[d] < K) K -= counts[d--];
    return {static_cast<uint32_t>(d), K};
  }

  Digit mark_by_first_digit(int64_t K, std::vector<Candidate>& candidates) {
    std::vector<std::array<uint32_t, 2 * digits>> counts(parts_.count());
    parallel_each(parts_.count(), N_ * work_of_a_number, [&](int64_t p) {
      const int64_t begin = parts_.begin(p);
      for_each_piece(begin, parts_.length(p), [&](int64_t at, int64_t count) {
        ordered_keys(score_ + at, count, key_ + at);
        count_digits(key_ + at, count, first_shift, counts[p].data());
      });
    });
    std::vector<int64_t> total(digits);
    for (const auto& of_part : counts) add_counts(of_part.data(), total.data());
    const Digit found = find(total.data(), K);
    candidates.resize(total[found.digit]);
    std::vector<int64_t> offsets(parts_.count());
    for (int64_t p = 1; p < parts_.count(); ++p) {
      const auto& before = counts[p - 1];
      offsets[p] = offsets[p - 1] + before[found.digit] + before[digits + found.digit];
    }
    parallel_each(parts_.count(), N_ * work_of_a_number, [&](int64_t p) {
      Candidate* to = candidates.data() + offsets[p];
      for_each_piece(parts_.begin(p), parts_.length(p), [&](int64_t at, int64_t count) {
        mark_above(key_ + at, count, first_shift, found.digit, mask_ + at);
        to = collect(key_ + at, count, first_shift, found.digit, at, to);
      });
    });
    return found;
  }

  int64_t mark_by_digit(int shift, int64_t wanted, std::vector<Candidate>& candidates) {
    const uint32_t mask = shift == 0 ? 0xff : digits - 1;
    std::array<int64_t, digits> counts{};
    for (const Candidate& c : candidates) ++counts[c.key >> shift & mask];
    const Digit found = find(counts.data(), wanted);
    size_t kept = 0;
    for (const Candidate& c : candidates) {
      const uint32_t digit = c.key >> shift & mask;
      if (digit > found.digit) mask_[c.index] = true;
      if (digit == found.digit) candidates[kept++] = c;
    }
    candidates.resize(kept);
    return found.wanted;
  }

  const float* score_;
  int64_t N_;
  bool* mask_;
  Parts parts_;
  uint32_t* key_ = nullptr;
};

// For rows too short for tables of digits, and for float64.
template <class Scalar>
struct Entry {
  Scalar value;
  int64_t index;
};

template <class Scalar>
bool comes_before(const Entry<Scalar>& a, const Entry<Scalar>& b) {
  return a.value != b.value ? a.value > b.value : a.index < b.index;
}

// NaN would break the strict order.
template <class Scalar>
Scalar ordered(Scalar key) {
  return std::isnan(key) ? -std::numeric_limits<Scalar>::infinity() : key;
}

template <class Scalar>
int64_t select_row(const Scalar* key, int64_t N, int64_t K, std::vector<Entry<Scalar>>& scratch,
                   bool* mask) {
  scratch.resize(N);
  for (int64_t n = 0; n < N; ++n) {
    scratch[n] = {ordered(key[n]), n};
  }
  std::nth_element(scratch.begin(), scratch.begin() + (K - 1), scratch.end(), comes_before<Scalar>);
  for (int64_t i = 0; i < K; ++i) mask[scratch[i].index] = true;
  return scratch[K - 1].index;
}

// Few of many: the best so far stay sorted, and hardly any other one gets in.
template <class Scalar>
void few_of_row(const Scalar* key, int64_t N, int64_t K, std::vector<Entry<Scalar>>& best) {
  best.clear();
  for (int64_t n = 0; n < N; ++n) {
    const Entry<Scalar> entry{ordered(key[n]), n};
    const bool full = static_cast<int64_t>(best.size()) == K;
    if (full && !(entry.value > best.back().value)) continue;  // the earlier of equal ones stays
    if (full) best.pop_back();
    best.insert(std::upper_bound(best.begin(), best.end(), entry, comes_before<Scalar>), entry);
  }
}

template <class Scalar>
void best_of_row(const Scalar* key, int64_t N, int64_t K, std::vector<Entry<Scalar>>& scratch,
                 int64_t* best) {
  constexpr int64_t few = 32;
  if (K <= few) {
    few_of_row(key, N, K, scratch);
  } else {
    scratch.resize(N);
    for (int64_t n = 0; n < N; ++n) scratch[n] = {ordered(key[n]), n};
    std::nth_element(scratch.begin(), scratch.begin() + (K - 1), scratch.end(),
                     comes_before<Scalar>);
    std::sort(scratch.begin(), scratch.begin() + K, comes_before<Scalar>);
  }
  for (int64_t i = 0; i < K; ++i) best[i] = scratch[i].index;
}

template <class Scalar>
at::Tensor best_on_cpu(const at::Tensor& key_RN, int64_t K) {
  const int64_t R = key_RN.size(0), N = key_RN.size(1);
  at::Tensor index_RK = at::empty({R, K}, at::TensorOptions(at::kLong));
  const Scalar* key = key_RN.const_data_ptr<Scalar>();
  int64_t* index = index_RK.mutable_data_ptr<int64_t>();
  parallel_parts(R, std::max<int64_t>(1, 32768 / N), N, [&](int64_t begin, int64_t end) {
    std::vector<Entry<Scalar>> scratch;
    for (int64_t r = begin; r < end; ++r) {
      best_of_row(key + r * N, N, K, scratch, index + r * K);
    }
  });
  return index_RK;
}

template <class Scalar>
TopK on_cpu(const at::Tensor& key_RN, int64_t K) {
  constexpr int64_t long_row = 16384;
  const int64_t R = key_RN.size(0), N = key_RN.size(1);
  TopK result{at::zeros({R, N}, at::TensorOptions(at::kBool)),
              at::empty({R}, at::TensorOptions(at::kLong))};
  const Scalar* key = key_RN.const_data_ptr<Scalar>();
  bool* mask = result.mask_RN.mutable_data_ptr<bool>();
  int64_t* last = result.last_R.mutable_data_ptr<int64_t>();
  if constexpr (std::is_same_v<Scalar, float>) {
    if (N >= long_row) {
      for (int64_t r = 0; r < R; ++r) {
        last[r] = RowSelection(key + r * N, N, mask + r * N).select(K);
      }
      return result;
    }
  }
  parallel_parts(R, std::max<int64_t>(1, 32768 / N), N, [&](int64_t begin, int64_t end) {
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
  const at::Tensor order = ranking(key_RN).narrow(1, 0, K);
  result.mask_RN.scatter_(1, order, true);
  result.last_R = order.select(1, K - 1).contiguous();
  return result;
}

at::Tensor ranking(const at::Tensor& key_RN) {
  const at::NoGradGuard no_grad;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return std::get<1>(at::sort(key_RN.nan_to_num(-infinity, infinity, -infinity), /*stable=*/true,
                              /*dim=*/1, /*descending=*/true));
}

at::Tensor topk(const at::Tensor& key_RN, int64_t K) {
  check(key_RN, K);
  const auto type = key_RN.scalar_type();
  if (K == 0 || !key_RN.is_cpu() || (type != at::kFloat && type != at::kDouble)) {
    return ranking(key_RN).narrow(1, 0, K);
  }
  const at::NoGradGuard no_grad;
  const at::Tensor contiguous = key_RN.contiguous();
  return type == at::kFloat ? best_on_cpu<float>(contiguous, K)
                            : best_on_cpu<double>(contiguous, K);
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
