#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "gallop/sparse/routing_record.h"

namespace gallop::sparse {

/// (max_e n_e - mean n_e) / mean n_e of the loads n_e (auxiliary-loss-free balancing, arXiv
/// 2408.15664); NaN when nothing was selected.
double max_violation(const at::Tensor& loads_E);

/// Percentage of unordered expert pairs whose cumulative share, sorted descending, of all
/// co-activations is below 95 % (Expert Race, Fig. 13), in exact integers; 0 when no pair ever
/// fires together.
double combination_usage(const at::Tensor& mask_TE);

/// What training and evaluation report, averaged over the sparse layers.
struct RoutingStatistics {
  double active = 0;             ///< wanted experts a token
  double experts_per_token = 0;  ///< kept pairs / tokens
  double max_violation = 0;
  double starved = 0;  ///< share of tokens with no expert
};

/// Counts over several forwards of one model, so that the statistics of a set do not depend on the
/// batches it was cut into.
class RoutingTotals {
 public:
  /// Every call must bring the same layers in the same order.
  void add(const std::vector<RoutingRecord>& records);
  /// All 0 before the first record (a dense model).
  RoutingStatistics statistics() const;

 private:
  struct Layer {
    double active = 0;
    int64_t tokens = 0, starved = 0;
    at::Tensor loads_E;
  };
  std::vector<Layer> layers_;
};

/// Of one forward.
RoutingStatistics statistics_of(const std::vector<RoutingRecord>& records);

}  // namespace gallop::sparse
