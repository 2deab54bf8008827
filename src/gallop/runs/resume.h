#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gallop/runs/checkpoint.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_state.h"
#include "gallop/tasks/task.h"

namespace gallop::runs {

/// What a run is asked to go on with.
struct ResumeRequest {
  Recipe& recipe;
  const tasks::Task& task;         ///< of that recipe
  std::vector<std::string> allow;  ///< keys, or tables above them; names of before, too
};

/// What differs from the session that wrote a checkpoint.
struct ResumeChanges {
  std::vector<std::string> accepted;  ///< a line each: "train.steps: 30 -> 40"
  std::vector<std::string> warnings;  ///< what changes results and is gone on with all the same
};

/// Compares recipe and data with those of a checkpoint. Error, with all of them, for what changes
/// the meaning of the saved state unless `allow` names it: keys of the task, batch, precision,
/// seed,
/// ..., and what the task says of its data (Task::changes: the classes, the shape of a sample).
/// What it does not take for other data (samples more or less) is a warning, unless allowed. Where
/// the run began without ema.warmup, once the default, the recipe is set to that unless it is
/// allowed.
ResumeChanges compare_with_checkpoint(const fs::path& checkpoint, const Snapshot& saved,
                                      ResumeRequest request);

/// Error for a key to allow that none of the recipes and no comparison of the task's data has.
void require_known_keys(const std::vector<std::string>& allow, const std::vector<Recipe*>& recipes,
                        const tasks::Task& task);

/// The recipe that a checkpoint was saved with.
Recipe recipe_of(const fs::path& checkpoint);

/// The state of a checkpoint; one from before samples were counted has step x batch of the recipe
/// that it was saved with.
RunState state_of(const fs::path& checkpoint, const Snapshot& saved);

}  // namespace gallop::runs
