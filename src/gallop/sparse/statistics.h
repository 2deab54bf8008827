#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "gallop/collectives/world.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::sparse {

/// (max_e n_e - mean n_e) / mean n_e of the loads n_e (auxiliary-loss-free balancing, arXiv
/// 2408.15664); NaN when nothing was selected.
double max_violation(const at::Tensor& loads_E);

/// Percentage of unordered expert pairs whose cumulative share, sorted descending, of all
/// co-activations is below 95 % (Expert Race, Fig. 13), in exact integers; 0 when no pair ever
/// fires together.
double combination_usage(const at::Tensor& mask_TE);
/// The same from [E, E] int64 on the CPU, the tokens that each pair of experts shares.
double combination_usage_of(const at::Tensor& together_EE);

/// What training and evaluation report, averaged over the layers that choose from the same kind of
/// thing; "experts" stands for whatever that is.
struct RoutingStatistics {
  double active = 0;             ///< wanted experts a token; 0: no such layer
  double experts_per_token = 0;  ///< kept pairs / tokens
  double max_violation = 0;
  double starved = 0;  ///< share of tokens with no expert
  // Of detailed totals only:
  double combination_usage = 0;  ///< percent; NaN where a layer has more than 4,096 candidates
  /// Mean over tokens, of softmax(logits), in nats: ln E when undecided. Of lists: over the places,
  /// and summed over the queries of a token.
  double entropy = 0;
};

/// Counts over several forwards of one model, so that the statistics of a set do not depend on the
/// batches it was cut into.
class RoutingTotals {
 public:
  /// `detailed` also costs a product [E, T] x [T, E] and a softmax a layer.
  explicit RoutingTotals(bool detailed = false) : detailed_(detailed) {}
  /// Every call must bring the same layers in the same order.
  void add(const std::vector<RoutingRecord>& records);
  /// Adds the counts of other processes, which have the same layers.
  void merge(const collectives::World& world);
  /// Of the layers of one kind; all 0 where there is none (experts of a dense model).
  RoutingStatistics statistics(Choice choice = Choice::expert) const;
  /// The kinds that the records had.
  std::vector<Choice> choices() const;

 private:
  struct Layer {
    Choice choice = Choice::expert;
    double active = 0;
    int64_t tokens = 0, starved = 0;
    at::Tensor loads_E, together_EE;
    double entropy = 0;  // sum over the tokens
  };
  bool detailed_;
  std::vector<Layer> layers_;
};

/// Of the experts of one forward.
RoutingStatistics statistics_of(const std::vector<RoutingRecord>& records);

}  // namespace gallop::sparse
