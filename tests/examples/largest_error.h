#pragma once

#include <utility>
#include <vector>

#include "gallop/tasks/meter.h"

namespace gallop::examples {

/// A metric of one's own: the largest error of all samples, and a plot of what was predicted.
class LargestError : public tasks::Meter {
 public:
  void add(const tasks::Batch& batch, const tasks::Outcome& outcome) override;
  void merge(const collectives::World& world) override;
  tasks::Reading read() const override;

 private:
  std::vector<std::pair<double, double>> points_;  // x and what was predicted for it
  double largest_ = 0;
};

}  // namespace gallop::examples
