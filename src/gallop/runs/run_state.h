#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "gallop/base/json.h"
#include "gallop/runs/environment.h"
#include "gallop/runs/spikes.h"

namespace gallop::runs {

/// Where a run stands: everything but tensors. Kept in state.json of every checkpoint.
struct RunState {
  int64_t step = 0;            ///< steps taken, skipped ones included
  int64_t applied = 0;         ///< steps that changed the weights
  int64_t skipped = 0;         ///< steps that did not: a non-finite loss or gradient, or a spike
  int64_t skipped_in_row = 0;  ///< of them, the last ones without an applied step between
  int64_t skipped_spikes = 0;  ///< of them, spikes
  SpikeStatistics spikes;      ///< of the last applied steps
  int64_t samples = 0;   ///< taken from the training stream by these steps: the place in the data
  int64_t replaced = 0;  ///< samples that could not be read, whose place others took
  double seconds = 0;    ///< training time of all sessions, evaluation and samples included
  /// What each activity of the run needs to go on (training/activity.h), by its name.
  std::map<std::string, Json> activities;
  /// The thresholds of the EMA weights were calibrated after the last step; else they follow the
  /// training batches.
  bool exact_thresholds = false;
  Environment environment;  ///< of the session that took the last step; empty: not known

  Json to_json() const;
  static RunState from_json(const Json& json);
};

/// Numbers by name as an object; JSON has null for one that is not finite.
Json to_json(const std::map<std::string, double>& values);
std::map<std::string, double> numbers_from_json(const Json& json);

}  // namespace gallop::runs
