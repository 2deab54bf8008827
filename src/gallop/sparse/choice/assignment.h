#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// The kept (token, expert) pairs, sorted by expert, tokens ascending inside an expert (CSR).
struct Assignment {
  at::Tensor
      offsets;  ///< [E+1] int64 on the CPU; pairs offsets[e] .. offsets[e+1]-1 belong to expert e
  at::Tensor tokens;   ///< [P] int64, token b*L+l of each pair
  at::Tensor weights;  ///< [P] combine weights; the only differentiable part

  int64_t experts() const { return offsets.size(0) - 1; }
  int64_t pairs() const { return tokens.size(0); }
  /// Tokens of each expert, [E] int64 on the CPU.
  at::Tensor loads() const;
  /// The expert of each pair, [P] int64 on the device of the tokens.
  at::Tensor expert_of_pairs() const;
};

/// The pairs where mask_BLE (bool) is set, weighted by gate_BLE at those pairs. Gradient reaches
/// the gate through the kept pairs only.
Assignment make_assignment(const at::Tensor& mask_BLE, const at::Tensor& gate_BLE);

}  // namespace gallop::sparse
