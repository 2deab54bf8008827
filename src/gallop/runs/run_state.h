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
  /// Sums since the last line of the log, by name, so that a resumed run logs the same means.
  std::map<std::string, double> sums;
  int64_t summed_steps = 0;
  std::map<std::string, double> last_train, last_eval;  ///< the last lines of the log
  /// Steps of the last periodic evaluation and sample sheet: one that a stop left over is done when
  /// the run goes on.
  int64_t evaluated = 0, drawn = 0;
  /// The thresholds of the EMA weights were calibrated after the last step; else they follow the
  /// training batches.
  bool exact_thresholds = false;
  Environment environment;  ///< of the session that took the last step; empty: not known

  Json to_json() const;
  static RunState from_json(const Json& json);
};

}  // namespace gallop::runs
