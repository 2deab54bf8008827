#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/runs/background_save.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_directory.h"
#include "gallop/runs/run_log.h"
#include "gallop/runs/run_state.h"
#include "gallop/tasks/task.h"
#include "gallop/training/optimizer.h"
#include "gallop/training/schedule.h"

namespace gallop {
class Progress;
}

namespace gallop::training {

/// How a call of Trainer::run ended.
enum class Ended { finished, stopped };

/// Trains the run of a recipe. Knows tasks, optimizers and schedules by their interfaces only.
///
/// A step: the micro-batches one after the other (each routed on its own), the gradient of their
/// mean loss, clipping, the optimizer, then the pending updates of the routing in micro-batch order
/// and the EMA. A step whose loss or gradient norm is not finite, which is a spike (train.spike),
/// or which would make a weight, its average or its moments NaN or infinite, changes nothing and is
/// counted.
class Trainer {
 public:
  /// Takes the run directory, builds everything and goes on from the newest good checkpoint, if
  /// there is one. Prints what will be trained and what it costs. Throws Error, with nothing
  /// changed, for a recipe or data that do not fit the run, and for a machine that does not fit
  /// (`allow` as in compare_with_checkpoint).
  explicit Trainer(runs::Recipe recipe, const std::vector<std::string>& allow = {});
  ~Trainer();

  /// Trains to the last step, or until stop_requested() (base/stop.h) or step `until`; saves in all
  /// cases, also where an error between two steps ends it (a sample that cannot be read). At the
  /// end of the run, after a save, the thresholds of the EMA weights are calibrated exactly and
  /// saved.
  Ended run(int64_t until = std::numeric_limits<int64_t>::max());

  const runs::RunState& state() const { return state_; }
  /// All that a checkpoint of this moment holds; the tensors are those of the run, not copies.
  runs::Snapshot snapshot() const;
  const models::Model& model() const { return *model_; }
  const models::Model& average() const { return *average_; }

 private:
  struct StepReport;

  void take_steps(int64_t until);
  /// The evaluation and the sample sheet that are due at this step and not done yet.
  void interval_work();
  Ended stop();
  /// Saves, if that is of use, what an error leaves; a failure of that is a warning.
  void save_what_is_there();
  StepReport train_step();
  void check_scores(const tasks::TrainOutput& out) const;
  bool apply(StepReport& report);
  void skip(const StepReport& report);
  void log_step(const StepReport& report);
  void evaluate();
  void draw_sheet();
  /// Once a step, where the average is still mostly its first values.
  void warn_of_young_average();
  /// Saves now; throws Error if that fails.
  void save();
  /// Saves as the recipe says, in the background or not; a failure is a warning.
  void save_and_go_on();
  /// Waits for a save in the background, and notes how it ended.
  void finish_save();
  void note(const runs::SaveResult& result);
  /// Runs `write`; an Error of it is a warning unless the recipe says that it stops the run.
  void try_to_write(const std::string& what, int64_t step,
                    const std::function<void()>& write) const;
  /// A line of the log.
  void record(const std::string& kind, const std::vector<std::pair<std::string, double>>& values);
  void finish();
  bool complete() const;
  /// Whether something that happens every so many steps happens now; never at the last step, which
  /// finish() takes care of.
  bool due(int64_t every) const;

  // In this order, so that what does not fit is found before the folder is touched.
  runs::Recipe recipe_;
  std::unique_ptr<tasks::Task> task_;
  std::unique_ptr<models::Model> model_, average_;
  std::vector<nn::Parameter*> parameters_;
  runs::RunDirectory directory_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  runs::CheckpointStore store_;
  std::unique_ptr<runs::RunLog> log_;
  runs::BackgroundSaver saver_{store_};  // after what its thread uses
  std::unique_ptr<Progress> progress_;
  runs::RunState state_;
  double first_values_ = 1;  // share of them that the average still holds
  int64_t warned_ = -1;      // step of the last warning of that
  int64_t saved_step_ = -1;
  bool save_due_ = false;      // waits for an applied step
  bool between_steps_ = true;  ///< weights and state_ belong together
  int64_t logged_step_ = 0;
  double logged_seconds_ = 0;
  std::string routing_note_;
  std::string held_out_;  ///< the split as metadata; empty where the run never evaluates
};

}  // namespace gallop::training
