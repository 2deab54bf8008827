#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// softmax(q k^T / sqrt(d)) v for each head, from and to the layouts of the linear layers around
/// it: qkv [B, L, 3 * heads * d] holds q, k and v, in each the heads; the result is [B, L, heads *
/// d]. The kernel keeps the scores of one head in cache and serves L <= 1024; beyond, ATen's runs.
at::Tensor self_attention(const at::Tensor& qkv_BLX, int64_t heads);
/// The same by at::scaled_dot_product_attention; in float64, where gradients are checked, by matrix
/// products and softmax.
at::Tensor self_attention_reference(const at::Tensor& qkv_BLX, int64_t heads);

}  // namespace gallop::ops
