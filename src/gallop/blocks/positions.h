#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::blocks {

/// Some tokens of every sample: `positions_BK` [B, K] int64 are indices into dimension 1 of a
/// tensor [B, L, ...] of any rank, no two of a row alike.

/// x at those positions, [B, K, ...].
at::Tensor at_positions(const at::Tensor& x, const at::Tensor& positions_BK);
/// x with `part` [B, K, ...] in the place of what stands at those positions.
at::Tensor put_positions(const at::Tensor& x, const at::Tensor& positions_BK,
                         const at::Tensor& part);

}  // namespace gallop::blocks
