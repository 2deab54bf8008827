#pragma once

#include <ATen/core/Tensor.h>

#include "gallop/nn/module.h"
#include "gallop/ops/adaln.h"

namespace gallop::blocks {

/// How sublayers are wired: the stream does all adding. `state` is what flows between sublayers,
/// [B, L, D] in the plain stream; other kinds may carry several lanes in it.
class ResidualStream : public nn::Module {
 public:
  static constexpr const char* category = "stream";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t D = 0, sublayers = 0;
  };
  using nn::Module::Module;
  virtual at::Tensor enter(const at::Tensor& x_BLD) const = 0;
  /// What sublayer i sees.
  virtual at::Tensor read(const at::Tensor& state, int64_t i) const = 0;
  /// The state after sublayer i gave `branch_BLD`.
  virtual at::Tensor write(const at::Tensor& state, int64_t i,
                           const at::Tensor& branch_BLD) const = 0;
  /// The same for a branch gate * y, gate [B, D]: adaLN-Zero.
  virtual at::Tensor write_gated(const at::Tensor& state, int64_t i, const at::Tensor& gate_BD,
                                 const at::Tensor& y_BLD) const {
    return write(state, i, ops::adaln_gate(gate_BD, y_BLD));
  }
  /// Whether the state is nothing else than what a sublayer sees.
  virtual bool reads_whole_state() const { return false; }
  virtual at::Tensor leave(const at::Tensor& state) const = 0;
};

}  // namespace gallop::blocks
