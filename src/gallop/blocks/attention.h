#pragma once

#include "gallop/nn/linear.h"

namespace gallop::blocks {

/// Multi-head self-attention with one fused qkv product laid out [3, heads, head_dim], scale
/// 1/sqrt(head_dim); names `qkv`, `proj` (DiT, arXiv 2212.09748).
class Attention : public nn::Module {
 public:
  Attention(nn::Module& parent, std::string name, int64_t D, int64_t heads);
  /// x_BLD -> [B, L, D].
  at::Tensor forward(const at::Tensor& x_BLD) const;

 private:
  int64_t heads_;
  nn::Linear qkv_, proj_;
};

}  // namespace gallop::blocks
