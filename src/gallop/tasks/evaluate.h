#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gallop/tasks/task.h"

namespace gallop::tasks {

struct EvaluationOptions {
  const sparse::ThresholdSetting* thresholds = nullptr;  ///< null: those of the model
  /// Called after every batch with the samples done of all; may throw to stop.
  std::function<void(int64_t done, int64_t total)> progress = {};
};

/// The samples that an evaluation has seen.
struct Evaluated {
  int64_t samples = 0;
  int64_t replaced = 0;  ///< of them, those that others stand for
};

/// Runs the held-out samples through a model and shows every batch to the meters: the same samples
/// with the same random numbers at every call. Throws Error where there are none.
Evaluated measure(const Task& task, const models::Model& model, const std::vector<Meter*>& meters,
                  const EvaluationOptions& options = {});

/// What the task's own meters show of a model.
struct Evaluation {
  Evaluated of;
  std::map<std::string, double> values;  ///< by their names in the log
  std::string text;                      ///< all of it in words
  std::string note;                      ///< for the status line from here on
  std::string warning;                   ///< empty: nothing to warn of
  std::vector<formats::Artifact> artifacts;
};
Evaluation evaluate(const Task& task, const models::Model& model,
                    const EvaluationOptions& options = {});

/// Runs fixed batches of training data, keyed by the seed, without learning from them or changing
/// anything: what thresholds are calibrated on. `visit` is called for each.
struct CalibrationRun {
  int64_t batches = 1;
  bool training = true;  ///< route as in training; else as at inference
  const sparse::ThresholdSetting* thresholds = nullptr;
};
void calibration_run(const Task& task, const models::Model& model, const CalibrationRun& run,
                     const std::function<void(const Outcome&)>& visit);

}  // namespace gallop::tasks
