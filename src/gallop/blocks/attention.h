#pragma once

#include <string>

#include "gallop/nn/branch.h"
#include "gallop/nn/linear.h"

namespace gallop::blocks {

/// What a transformer block calls its attention over the tokens of a sample.
class Attention : public nn::Branch {
 public:
  static constexpr const char* category = "attention";
  struct Args {
    nn::Module* parent = nullptr;  ///< the block
    int64_t D = 0, heads = 0;
    int64_t layers = 1;  ///< attention layers in the model
  };
  using Branch::Branch;
};

/// The layers around the heads: one fused qkv product laid out [3, heads, head_dim], scale
/// 1/sqrt(head_dim), and the output projection; names `qkv`, `proj` (DiT, arXiv 2212.09748).
class MultiHead : public Attention {
 public:
  explicit MultiHead(const Args& args);
  /// Every token's scores of all others, and the values weighed by them.
  double multiply_adds(double tokens) const override;

 protected:
  int64_t heads() const { return heads_; }
  /// [B, L, D] the outputs of the heads, side by side.
  at::Tensor of_heads(const at::Tensor& x_BLD) const;
  at::Tensor project(const at::Tensor& heads_BLD) const { return proj_.forward(heads_BLD); }

 private:
  int64_t heads_;
  nn::Linear qkv_, proj_;
};

}  // namespace gallop::blocks
