#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/resume.h"
#include "gallop/runs/run_directory.h"
#include "gallop/runs/run_log.h"
#include "gallop/runs/run_state.h"
#include "gallop/tasks/task.h"
#include "gallop/training/activity.h"
#include "gallop/training/checkpoints.h"
#include "gallop/training/step.h"

namespace gallop::training {

/// How a call of Trainer::run ended.
enum class Ended { finished, stopped };

/// Trains the run of a recipe: the clock of its steps (training/step.h), of what is done beside
/// them (training/activity.h) and of its checkpoints. It knows neither what is learned nor what the
/// activities do.
class Trainer {
 public:
  /// Takes the run directory, builds everything and goes on from the newest good checkpoint, if
  /// there is one. Prints what will be trained and what it costs. Throws Error, with nothing
  /// changed, for a recipe or data that do not fit the run, and for a machine that does not fit
  /// (`allow` as in compare_with_checkpoint).
  explicit Trainer(runs::Recipe recipe, const std::vector<std::string>& allow = {},
                   const collectives::World& world = {});
  ~Trainer();

  /// Trains to the last step, or until stop_requested() (base/stop.h) or step `until`; saves in all
  /// cases, also where an error between two steps ends it (a sample that cannot be read). At the
  /// end of the run, after a save, the activities do what they have for it, and it is saved again.
  Ended run(int64_t until = std::numeric_limits<int64_t>::max());

  const runs::RunState& state() const { return state_; }
  /// All that a checkpoint of this moment holds; the tensors are those of the run, not copies.
  runs::Snapshot snapshot() const;
  const models::Model& model() const { return *model_; }
  const models::Model& average() const { return *average_; }

 private:
  /// The changes of recipe and data since the checkpoint; throws Error for those that are refused.
  runs::ResumeChanges compare(const runs::SavedCheckpoint& checkpoint,
                              const std::vector<std::string>& allow);
  void go_on_from(const runs::SavedCheckpoint& checkpoint, const runs::ResumeChanges& changes,
                  const runs::Environment& environment);
  void start_fresh();
  void take_steps(int64_t until);
  void between_steps();
  Ended stop();
  /// Saves, if that is of use, what an error leaves; a failure of that is a warning.
  void save_what_is_there();
  void finish();
  bool complete() const;

  // In this order, so that what does not fit is found before the folder is touched.
  runs::Recipe recipe_;
  std::unique_ptr<tasks::Task> task_;  ///< hands on the world
  std::unique_ptr<models::Model> model_, average_;
  runs::RunDirectory directory_;
  runs::CheckpointStore store_;
  std::string held_out_;  ///< the split as metadata; empty where the run never evaluates
  runs::RunState state_;
  std::optional<Stepper> stepper_;
  std::unique_ptr<runs::RunLog> log_;
  std::vector<std::unique_ptr<Activity>> activities_ = make_activities();
  std::optional<Run> run_;
  std::optional<Checkpoints> checkpoints_;
  bool steps_are_whole_ = true;  ///< weights and state_ belong together
};

}  // namespace gallop::training
