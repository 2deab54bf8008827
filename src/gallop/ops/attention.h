#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace gallop::ops {

/// What a query sees of the keys: by default all of them. Key j stands at place j, query i at place
/// `offset` + i; each condition that is given must hold.
struct AttentionOptions {
  bool causal = false;                   ///< no key behind the query's own place
  std::optional<int64_t> window;         ///< only keys less than so many places away, at least 1
  std::optional<at::Tensor> segment_BK;  ///< int64, one a place: only keys of the query's segment
  std::optional<double> scale;           ///< of the scores, above 0; absent: 1 / sqrt(d)
  int64_t offset = 0;                    ///< keys of a cache that stand before the first query
};

/// Attention of queries q [B, Q, N, d] over keys k and values v [B, K, M, d] -> [B, Q, N, d]. N is
/// a multiple of M: heads h * N/M up to (h+1) * N/M - 1 of the queries share head h of the keys
/// (grouped queries, arXiv 2305.13245). With a condition or an offset, the queries' places must be
/// among the keys', so that each query sees itself. Throws Error for what does not fit.
///
/// The kernel is that of self_attention.h, with the same bits where all is seen; it serves up to
/// 1024 queries and keys, and segments whose places are side by side. All else runs the reference.
at::Tensor attention(const at::Tensor& q_BQNd, const at::Tensor& k_BKMd, const at::Tensor& v_BKMd,
                     const AttentionOptions& options = {});
/// The same by at::scaled_dot_product_attention with a mask [1 or B, 1, Q, K]; in float64 by matrix
/// products and softmax.
at::Tensor attention_reference(const at::Tensor& q_BQNd, const at::Tensor& k_BKMd,
                               const at::Tensor& v_BKMd, const AttentionOptions& options = {});

}  // namespace gallop::ops
