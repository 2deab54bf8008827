#pragma once

#include "gallop/nn/module.h"
#include "gallop/sparse/statistics.h"
#include "gallop/tasks/meter.h"

namespace gallop::tasks {

/// How tokens were routed: by experts, and by whatever else they choose from (heads, depths,
/// masks).
class RoutingMeter : public Meter {
 public:
  /// `model` is the one that is measured.
  explicit RoutingMeter(const nn::Module& model);
  void add(const Batch& batch, const Outcome& outcome) override;
  void merge(const collectives::World& world) override;
  /// Warns where thresholds keep another number of experts than training does.
  Reading read() const override;
  /// Of the layers of experts; all 0 where there are none.
  sparse::RoutingStatistics experts() const { return totals_.statistics(); }

 private:
  bool thresholds_;
  sparse::RoutingTotals totals_;
};

}  // namespace gallop::tasks
