#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/progress.h"
#include "gallop/models/model.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_directory.h"
#include "gallop/runs/run_log.h"
#include "gallop/runs/run_state.h"
#include "gallop/tasks/task.h"

namespace gallop::training {

/// Thrown out of long work beside the steps when the run is to stop; what it would have left is
/// done when the run goes on. An exception like others for who embeds this, though no failure.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "asked to stop"; }
};
/// Throws Interrupted if stop_requested() (base/stop.h).
void leave_if_asked();

/// What the activities of a run act on: references into its trainer.
struct Run {
  const runs::Recipe& recipe;
  const tasks::Task& task;
  models::Model& model;
  models::Model& average;  ///< moving average of the model's weights, by which a run is judged
  const runs::RunDirectory& directory;
  runs::RunLog& log;
  runs::RunState& state;
  std::function<void()> settle_average;  ///< before the average is read
  const double& first_values;            ///< share of the values the run began with in the average
  std::unique_ptr<Progress> progress = nullptr;
  std::string note = "";         ///< of the last evaluation, for the status line
  bool average_changed = false;  ///< set by who changes the average beside a step

  /// Whether something that happens every so many steps happens now. Not at the last step, which
  /// has a time of its own (Activity::at_end).
  bool due(int64_t every) const;
  /// A line of the log.
  void record(const std::string& kind, const std::vector<std::pair<std::string, double>>& values);
  /// Keeps what was made at this step in the run's folder and in TensorBoard.
  void keep(const formats::Artifact& artifact);
  /// Runs `write`. What it throws becomes a warning that there is no `what` of this step, unless
  /// the recipe says that it stops the run (checkpoint.on_error).
  void or_warn(const std::string& what, const std::function<void()>& write) const {
    or_warn(what, state.step, write);
  }
  void or_warn(const std::string& what, int64_t step, const std::function<void()>& write) const;
  /// Once a step, where the average is still mostly its first values.
  void warn_of_young_average();

  int64_t warned = -1;  ///< the step of the last warning of that
};

}  // namespace gallop::training
