#pragma once

#include <map>
#include <string>
#include <vector>

#include "gallop/nn/pending_update.h"
#include "gallop/tasks/outcome.h"

/// What the outputs of a task say to those who run it without knowing what it learns: numbers by
/// name for the log, and words for the person who watches.
namespace gallop::tasks {

/// The name in the log of a task's own value: "task_loss" for one called "loss", since that and
/// some others are names of what a run logs of every task.
std::string logged_name(const std::string& name);

/// A training forward beside its losses.
struct StepRemarks {
  std::map<std::string, double> values;  ///< by their names in the log
  std::string note;                      ///< for the status line; empty: nothing
};
/// How tokens were routed; empty without routing.
StepRemarks remarks_of(const Outcome& outcome);

/// The buffers that a training forward wants to change; they are taken out of it.
std::vector<nn::PendingUpdate> take_pending(Outcome& outcome);

/// Throws Error that names the layer where a score is NaN or infinite.
void require_finite(const Outcome& outcome);

}  // namespace gallop::tasks
