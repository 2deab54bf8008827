#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"
#include "gallop/sparse/choice/gate.h"
#include "gallop/sparse/choice/inference_threshold.h"
#include "gallop/sparse/choice/kept.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::sparse {

/// The kept pairs of one forward and what the selection wants remembered.
struct Selected {
  Pairs pairs;       ///< those that are kept
  at::Tensor kappa;  ///< [rows] K-th largest gated score, +inf where K = 0; undefined by threshold
  std::vector<PendingUpdate> pending;
  Pairs before_drops;       ///< with those that a capacity dropped; undefined: none
  at::Tensor gate_BLE;      ///< replaces the gated scores where a selection makes its own weights
  at::Tensor compared_BLE;  ///< what the threshold is compared with; undefined: the gated scores
  std::map<std::string, at::Tensor> extras;  ///< what the selection shows to losses made for it

  const Pairs& chosen() const { return before_drops.defined() ? before_drops : pairs; }
  /// Bool; made where someone asks.
  const at::Tensor& mask_BLE() const { return pairs.mask_BLE(); }
};

/// `active` as the whole number of experts that every token takes under the selection `name`; Error
/// for 0.5 or 2.5, which no token can take.
int64_t whole_active(const std::string& name, double active);

/// Decides which (token, expert) pairs are kept. Its buffers live under the router's name. Where a
/// router lists the candidates of each query (Router::listing), the scores are [B, queries, places
/// of the list], and so are the pairs.
class Selection : public nn::Module {
 public:
  static constexpr const char* category = "selection";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t experts = 0, tokens = 0;  ///< E, L
    double active = 0;                ///< K, may be fractional
    int64_t D = 0;                    ///< width of the tokens
  };
  using nn::Module::Module;
  virtual Selected select(const Scores& scores, const nn::ForwardContext& ctx) const = 0;
  virtual Pools pools() const = 0;
  /// How many pairs a training forward of that many samples keeps, where this does not depend on
  /// the scores.
  virtual std::optional<int64_t> kept_pairs(int64_t samples) const;
  /// Experts a token that training keeps on average where this depends neither on the scores nor on
  /// the size of the batch (but for rounding down a pool of a whole batch): at most Args::active.
  virtual std::optional<double> kept_a_token() const { return std::nullopt; }
  /// Whether it compares scores without asking whose they are, so that the columns may be places
  /// of lists, each with other candidates.
  virtual bool takes_lists() const { return false; }
  /// Whether, outside training, no sample of a batch changes what another one gets.
  virtual bool independent_at_inference() const { return !pools().samples; }
  /// What the router or the gate must show (Router::shows, Gate::shows), since it keeps nothing
  /// sensible without.
  virtual std::vector<std::string> needs_shown() const { return {}; }
  /// The names of what it always shows in Selected::extras.
  virtual std::vector<std::string> shows() const { return {}; }
  /// The threshold buffer, or null for a kind that has none.
  virtual const InferenceThreshold* threshold() const { return nullptr; }
  /// From what the threshold is compared with, [N, L, E] of some samples: the scores that each
  /// number of the threshold buffer is compared with, [shape of the buffer, scores]. Those of more
  /// samples stand behind them. Only for kinds with a threshold.
  virtual at::Tensor threshold_scores(const at::Tensor& compared_NLE) const;
  /// Which of so many of them, from 1 for the smallest, is the exact threshold for `active` experts
  /// a token on average (absent: K), the (1 - active/E) quantile; 0: `below_all_scores` is. Throws
  /// Error unless 0 < active <= E.
  virtual int64_t threshold_rank(int64_t scores, std::optional<double> active) const;
  static constexpr float below_all_scores = -1;
  /// The exact value of the threshold buffer where all samples are at hand.
  at::Tensor exact_threshold(const at::Tensor& compared_NLE,
                             std::optional<double> active = {}) const;
};

/// All selections of a model, each before those that it holds.
std::vector<const Selection*> selections_of(const nn::Module& model);
/// Whether one of them has an inference threshold.
bool has_thresholds(const nn::Module& model);

}  // namespace gallop::sparse
