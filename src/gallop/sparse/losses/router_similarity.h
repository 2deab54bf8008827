#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// W of the router similarity loss (Expert Race, arXiv 2503.16057, eqs. 9-11) from mask_TE (0/1):
/// M' = M^T M; W_ii = E M'_ii / sum_a M'_aa, W_ij = (E^2 - E) M'_ij / sum_{a != b} M'_ab, 0 where a
/// sum is 0. [E, E] float32 without gradient.
at::Tensor similarity_weights(const at::Tensor& mask_TE);

/// L = (1/T) sum_ij W_ij P'_ij with P = softmax(logits over E), P' = P^T P. Logits [T, E].
at::Tensor router_similarity(const at::Tensor& logits_TE, const at::Tensor& mask_TE);

}  // namespace gallop::sparse
