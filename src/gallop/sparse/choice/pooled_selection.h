#pragma once

#include <optional>
#include <string>

#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/choice/threshold.h"

namespace gallop::sparse {

/// The unified view of Expert Race (arXiv 2503.16057): the score tensor [B, L, E] is permuted to a
/// matrix whose rows are pools, and each row keeps its K = floor(k * pool / E) best entries by
/// (value descending, flat index ascending). A `Pools` names the free (pooled) dimensions.
///
/// Kinds whose pools span samples have an inference threshold: race one scalar, BL one an expert,
/// BE one a position; each is the moving average of its own kappa. The others keep their top-K at
/// inference, which depends on no other sample. By settings.inference each kind can be switched to
/// the other rule; thresholds of the latter then follow the kappas' mean over the samples.
class PooledSelection : public Selection {
 public:
  PooledSelection(Pools pools, const ThresholdSettings& settings, const Args& args);
  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override;
  Pools pools() const override { return pools_; }
  bool takes_lists() const override { return pools_.experts; }
  std::optional<int64_t> kept_pairs(int64_t samples) const override;
  std::optional<double> kept_a_token() const override;
  bool independent_at_inference() const override;
  const InferenceThreshold* threshold() const override {
    return threshold_ ? &*threshold_ : nullptr;
  }
  at::Tensor threshold_scores(const at::Tensor& gate_NLE) const override;
  int64_t threshold_rank(int64_t scores, std::optional<double> active) const override;

 private:
  bool by_threshold(const nn::ForwardContext& ctx) const;
  at::Tensor above_threshold(const at::Tensor& gate_BLE, const nn::ForwardContext& ctx) const;
  /// Scores in each pool of that many samples of L tokens.
  int64_t pool_size(int64_t samples, int64_t tokens) const;
  at::Tensor to_rows(const at::Tensor& x_BLE) const;
  at::Tensor from_rows(const at::Tensor& rows, at::IntArrayRef shape_BLE) const;

  Pools pools_;
  ThresholdSettings settings_;
  Args args_;
  std::vector<int64_t> permutation_;  // of (B, L, E): row dimensions first, pooled ones last
  std::optional<InferenceThreshold> threshold_;
};

/// K of a pool of `pool` scores: floor(active * pool / experts).
int64_t kept_of_pool(double active, int64_t pool, int64_t experts);
/// What is wrong where that is 0, and what would help.
std::string nothing_kept(double active, int64_t pool, int64_t experts);
/// The same for a threshold that is calibrated. Throws Error, which begins with the name of the
/// selection, unless 0 < active <= experts and something is kept.
int64_t kept_by_threshold(const std::string& name, double active, int64_t pool, int64_t experts);

}  // namespace gallop::sparse
