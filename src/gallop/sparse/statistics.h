#pragma once

#include <ATen/core/Tensor.h>

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

/// What training and evaluation report of a forward, averaged over its sparse layers.
struct RoutingStatistics {
  double experts_per_token = 0;  ///< kept pairs / tokens
  double max_violation = 0;
  double starved = 0;  ///< share of tokens with no expert
};
RoutingStatistics statistics_of(const std::vector<RoutingRecord>& records);

}  // namespace gallop::sparse
