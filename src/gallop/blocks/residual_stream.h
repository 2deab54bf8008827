#pragma once

#include <ATen/core/Tensor.h>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"

namespace gallop::blocks {

/// How sublayers are wired: the stream does all adding, that of depth routing included. `state` is
/// what flows between sublayers: [B, L, D] in the plain stream, [B, L, ..., D] in kinds that carry
/// several lanes in it. Tokens are dimension 1 in all of them.
class ResidualStream : public nn::Module {
 public:
  static constexpr const char* category = "stream";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t D = 0, sublayers = 0;
  };
  using nn::Module::Module;
  virtual at::Tensor enter(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const = 0;
  /// What sublayer i sees, [B, L, D].
  virtual at::Tensor read(const at::Tensor& state, int64_t i,
                          const nn::ForwardContext& ctx) const = 0;
  /// The state after sublayer i gave `branch_BLD`.
  virtual at::Tensor write(const at::Tensor& state, int64_t i, const at::Tensor& branch_BLD,
                           const nn::ForwardContext& ctx) const = 0;
  /// The same for a branch gate * y, gate [B, D]: adaLN-Zero.
  virtual at::Tensor write_gated(const at::Tensor& state, int64_t i, const at::Tensor& gate_BD,
                                 const at::Tensor& y_BLD, const nn::ForwardContext& ctx) const;
  /// Whether the state is nothing else than what a sublayer sees.
  virtual bool reads_whole_state() const { return false; }
  virtual at::Tensor leave(const at::Tensor& state, const nn::ForwardContext& ctx) const = 0;

  /// What depth routing does with states. They are vectors: tokens are taken out and put back
  /// whole, and every lane of a token is weighed alike. `weight` is a number a token, [B, L], or
  /// one a channel, [B, L, D].
  ///
  /// The state of the tokens at those positions alone, [B, K, ...].
  virtual at::Tensor take(const at::Tensor& state, const at::Tensor& positions_BK) const;
  /// The state with `part` in the place of those tokens.
  virtual at::Tensor put(const at::Tensor& state, const at::Tensor& positions_BK,
                         const at::Tensor& part) const;
  /// `state` where the mask (bool) holds, `other` elsewhere.
  virtual at::Tensor where(const at::Tensor& mask_BL, const at::Tensor& state,
                           const at::Tensor& other) const;
  virtual at::Tensor scale(const at::Tensor& state, const at::Tensor& weight) const;
  virtual at::Tensor add(const at::Tensor& state, const at::Tensor& other) const;
  virtual at::Tensor subtract(const at::Tensor& state, const at::Tensor& other) const;
};

}  // namespace gallop::blocks
