#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "gallop/blocks/residual_stream.h"
#include "gallop/nn/branch.h"

namespace gallop::blocks {

/// Where the norms of a sublayer stand: before its branch, or before it and behind it, so that what
/// the stream adds has one size whatever the branch gives (CogView, arXiv 2105.13290).
enum class NormPlacement { pre, sandwich };

/// adaLN-Zero's numbers of one sublayer, [B, D] each.
struct Modulation {
  at::Tensor shift_BD, scale_BD, gate_BD;
};

/// One step of a block: its branch, where the norms stand, and its number in the stream.
struct Sublayer {
  const nn::Branch& branch;
  int64_t number = 0;
  std::string tap;        ///< name of the tap of what the branch gives; empty: none
  std::string input_tap;  ///< and of what it gets
  NormPlacement norm = NormPlacement::pre;

  /// The state after x <- x + gate * branch(LN(x) (1 + scale) + shift), LN without affine; with
  /// norms on both sides gate * LN(branch(...)). `weight_BL` multiplies what is added to a token
  /// (undefined: 1).
  at::Tensor forward(const at::Tensor& state, const Modulation& modulation,
                     const at::Tensor& weight_BL, const ResidualStream& stream,
                     const nn::ForwardContext& ctx) const;
};

}  // namespace gallop::blocks
