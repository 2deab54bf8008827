#pragma once

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"

namespace gallop::nn {

/// What a sublayer of a block computes, and a residual stream adds: attention over the tokens of a
/// sample, or a feed-forward layer.
class Branch : public Module {
 public:
  using Module::Module;
  /// x_BLD -> [B, L, D].
  virtual at::Tensor forward(const at::Tensor& x_BLD, const ForwardContext& ctx) const = 0;
};

}  // namespace gallop::nn
