#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "gallop/sparse/losses/sparse_loss.h"

/// The loss of Switch-DiT (arXiv 2403.09176): which experts a noise level uses should follow a
/// table in which neighbouring levels share most of theirs. T noise levels, N blocks, M experts a
/// block.
namespace gallop::sparse {

/// [T, N*M] of 0 and 1: row t has N*active ones in a band that begins at the fourth power of
/// t / (T-1), rounded, on its way to the last place: slow where there is little noise.
at::Tensor prior_table(int64_t T, int64_t blocks, int64_t experts, int64_t active);

/// For each column of `used` the column of `table` (both [T, A], 0 and 1) that it is compared with:
/// each once, the sum of all differences least (Hungarian method). Among equally good ones the
/// choice is fixed, where the published code draws it at random.
std::vector<int64_t> best_columns(const at::Tensor& used_TA, const at::Tensor& table_TA);

/// Mean over the rows of the Jensen-Shannon divergence of two distributions, at most ln 2; 1e-6 is
/// added inside the logarithms as in the published code.
at::Tensor jensen_shannon(const at::Tensor& p_BA, const at::Tensor& q_BA);

/// Reads `probabilities` [T, M] of every block's gate, and the batch's noise levels, which must be
/// whole numbers below T.
class DiffusionPrior : public SparseLoss {
 public:
  DiffusionPrior(double weight, int64_t active) : weight_(weight), active_(active) {}
  std::string kind() const override { return "diffusion_prior"; }
  double weight() const override { return weight_; }
  at::Tensor value(const RoutingRecord& record, const at::Tensor& target_BLH) const override;
  at::Tensor joint_value(const std::vector<const RoutingRecord*>& records) const override;

 private:
  double weight_;
  int64_t active_;
};

}  // namespace gallop::sparse
