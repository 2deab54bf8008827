#pragma once

#include "gallop/sparse/choice/pairs.h"

namespace gallop::sparse {

/// Over what the candidates of a selection compete.
struct Pools {
  bool tokens = false, samples = false, experts = false;
};

/// What a choice gives: the kept pairs, and what the result of each is multiplied by.
struct Kept : Pairs {
  Kept() = default;
  Kept(const Pairs& pairs, at::Tensor weights) : Pairs(pairs), weights_P(std::move(weights)) {}

  at::Tensor weights_P;  ///< [P], in the order of token_P; the only differentiable part
  Pairs before_drops;    ///< with those that a capacity dropped; undefined: none
  Pools pools;           ///< of the selection

  /// The pairs before a capacity dropped some; often the kept ones.
  const Pairs& chosen() const { return before_drops.defined() ? before_drops : *this; }
  /// [B, L, E], 0 where no pair is kept, the sum where one is kept more than once; differentiable.
  at::Tensor weights_BLE() const;
};

/// The pairs with the weights that weights_BLE [B, L, E] has at them: gradient reaches it through
/// the kept pairs only.
Kept keep(const Pairs& pairs, const at::Tensor& weights_BLE);

}  // namespace gallop::sparse
