#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// The K best of all pairs (i, j) of each row by the score a_i + b_j, in the order of `topk` over
/// the N*M scores of the row (which are never made): int64 [R, K], each i*M + j, best first. The
/// score is rounded as it is added, and equal ones are in the order of that index (product keys,
/// arXiv 1907.05242). a_RN and b_RM of one type, 0 <= K <= N*M; no gradient. CPU: O(N + M + K log
/// K) a row but for ties; other devices look at the best K x K only, among which they take ties
/// that come of rounding.
at::Tensor product_topk(const at::Tensor& a_RN, const at::Tensor& b_RM, int64_t K);

}  // namespace gallop::ops
