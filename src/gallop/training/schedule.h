#pragma once

#include <cstdint>

namespace gallop::training {

/// The learning rate over the run: a component of category "schedule" ("constant", "cosine",
/// "linear"), each with a linear warm-up.
class Schedule {
 public:
  static constexpr const char* category = "schedule";
  struct Args {
    int64_t total_steps = 1;
  };
  virtual ~Schedule() = default;
  /// Factor on the learning rate for the step with this number, from 0.
  virtual double factor(int64_t step) const = 0;
};

}  // namespace gallop::training
