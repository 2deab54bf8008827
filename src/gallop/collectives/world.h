#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <span>

namespace gallop::collectives {

/// What the processes that work on one run tell one another. All of them call the same functions in
/// the same order, each with as many numbers. Gradients do not go this way: float sums have an
/// order of their own.
class Collectives {
 public:
  virtual ~Collectives() = default;
  /// Replaces every number by its sum over all processes, added in the order of their ranks.
  virtual void sum(std::span<double> values) = 0;
  virtual void sum(std::span<int64_t> values) = 0;
  /// Replaces every number by the largest that a process has.
  virtual void largest(std::span<int64_t> values) = 0;
};

/// Those of a process that works alone: every number stays.
Collectives& alone();

/// One process among those that work on a run; by default it is the only one.
struct World {
  int64_t rank = 0, size = 1;
  c10::Device device = c10::Device(c10::kCPU);
  Collectives* collectives = &alone();  ///< outlives the run

  /// Whether this is the process that writes log, checkpoints and what is generated.
  bool writes() const { return rank == 0; }
};

}  // namespace gallop::collectives
