#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "gallop/base/json.h"

namespace gallop::runs {

/// Tells values that lie far above those of the last steps: the z-score against the last 128 values
/// that were added, which are those of applied steps, all finite. A part of the run's state.
class SpikeWindow {
 public:
  static constexpr size_t length = 128;

  /// Throws Error for a value that is not finite: the window would never be of use again.
  void add(double value);
  /// How many standard deviations the value lies above the mean of the window; 0 while that is not
  /// full, or where all its values are equal.
  double z_score(double value) const;
  double mean() const;
  size_t size() const { return values_.size(); }

  /// The values, oldest first.
  Json to_json() const;
  /// Throws Error for what to_json does not write.
  static SpikeWindow from_json(const Json& json);

  bool operator==(const SpikeWindow&) const = default;

 private:
  std::deque<double> values_;
};

/// The windows of a run.
struct SpikeStatistics {
  SpikeWindow loss, grad_norm;

  void add(double loss_value, double norm_value) {
    loss.add(loss_value);
    grad_norm.add(norm_value);
  }
  /// What makes a step a spike, in words; empty if neither value lies more than `limit` standard
  /// deviations above the mean, or if `limit` is 0.
  std::string spike(double loss_value, double norm_value, double limit) const;

  Json to_json() const;
  static SpikeStatistics from_json(const Json& json);

  bool operator==(const SpikeStatistics&) const = default;
};

}  // namespace gallop::runs
