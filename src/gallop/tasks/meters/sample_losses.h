#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gallop/tasks/meter.h"

namespace gallop::tasks {

/// The means of Outcome::of_samples_B over all samples, in double, by their names.
class SampleLosses : public Meter {
 public:
  void add(const Batch& batch, const Outcome& outcome) override;
  void merge(const collectives::World& world) override;
  Reading read() const override;
  /// By name, the main one first.
  std::vector<std::pair<std::string, double>> means() const;
  /// The main one. Throws Error where no sample had a loss.
  double main() const;

 private:
  std::vector<std::string> names_;
  std::vector<double> sums_;
  int64_t samples_ = 0;
};

}  // namespace gallop::tasks
