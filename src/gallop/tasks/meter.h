#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gallop/collectives/world.h"
#include "gallop/formats/artifact.h"
#include "gallop/tasks/outcome.h"
#include "gallop/tasks/stream.h"

namespace gallop::tasks {

/// What a meter shows.
struct Reading {
  std::vector<std::pair<std::string, double>> values;  ///< by their names in the log
  std::string text;                                    ///< in words; empty: nothing to say
  std::string note;                                    ///< for the status line from here on
  std::string warning;                                 ///< empty: nothing to warn of
  std::vector<formats::Artifact> artifacts;            ///< to look at beside the numbers
};

/// Measures over the batches of an evaluation: a loss, a score, how tokens were routed. What it
/// shows must not depend on the batches that the samples were cut into, but for rounding.
class Meter {
 public:
  virtual ~Meter() = default;
  virtual void add(const Batch& batch, const Outcome& outcome) = 0;
  /// Adds what the other processes have measured on their batches.
  virtual void merge(const collectives::World& world) = 0;
  virtual Reading read() const = 0;
};

}  // namespace gallop::tasks
