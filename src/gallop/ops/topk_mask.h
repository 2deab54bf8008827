#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// The K largest entries of each row, ordered by (value descending, index ascending); +0 equals -0,
/// NaN is below everything.
struct TopK {
  at::Tensor mask_RN;  ///< bool, exactly K set in each row
  at::Tensor last_R;   ///< int64 index of the K-th entry of each row; undefined for K = 0
};

/// key_RN float32 or float64, 0 <= K <= N. No gradient. CPU: linear time, other devices: the
/// reference.
TopK topk_mask(const at::Tensor& key_RN, int64_t K);
/// The same by a stable sort, in plain ATen.
TopK topk_mask_reference(const at::Tensor& key_RN, int64_t K);

/// The K first of them, best first: int64 [R, K], without a mask of the row.
at::Tensor topk(const at::Tensor& key_RN, int64_t K);

/// The indices of each row in that order, int64 [R, N]; no gradient.
at::Tensor ranking(const at::Tensor& key_RN);

}  // namespace gallop::ops
