#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/nn/pending_update.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_state.h"
#include "gallop/tasks/report.h"
#include "gallop/tasks/task.h"
#include "gallop/training/decision.h"
#include "gallop/training/pass.h"
#include "gallop/training/schedule.h"

namespace gallop::training {

/// What one step did.
struct StepReport {
  /// "loss", each loss and part by name, "grad_norm", "lr". With several passes those of each pass
  /// by its name ("critic_loss"), "loss" the sum over the passes, "grad_norm" that of all together.
  std::map<std::string, double> values;
  std::vector<int64_t> samples;
  int64_t replaced = 0;        ///< of the samples, those that others stand for
  tasks::StepRemarks remarks;  ///< of the last micro-batch
  bool applied = false;        ///< whether the weights have moved as the step would have them
  std::string spike;           ///< why a finite step is not applied; empty: it is
  std::string overflown;       ///< what an update would have made NaN or infinite; empty: nothing
  std::string gradient;  ///< the first one that is not finite, where the step is not; empty: none
  bool stop = false;     ///< a process was asked to stop

  double loss() const { return values.at("loss"); }
  double norm() const { return values.at("grad_norm"); }
  bool finite() const { return std::isfinite(loss()) && std::isfinite(norm()); }
};

/// Takes the steps of a run. A step is the passes of its task, most tasks having one; a pass is its
/// micro-batches one after the other (each routed on its own), the gradient of their mean loss,
/// clipping, the optimizer. Then come the pending updates in micro-batch order and the average. A
/// pass whose loss or gradient norm is not finite, which is a spike (train.spike), or which would
/// make a weight, its average or its moments NaN or infinite, changes nothing and ends its step,
/// which is counted as skipped.
class Stepper {
 public:
  /// All of these are materialised and outlive this.
  Stepper(const runs::Recipe& recipe, const tasks::Task& task, models::Model& model,
          models::Model& average);

  /// Losses and gradients of the first pass of the next step. Throws what reading or routing
  /// throws; nothing has changed then.
  StepReport compute(const runs::RunState& state);
  /// Its update, or the reason for none, and the passes after it; counts the step in `state`. The
  /// gradients of the last pass stay, for who looks at a step that was not applied.
  void apply(StepReport& report, runs::RunState& state);
  /// Before the next step, whatever became of this one.
  void forget_gradients();

  /// Before the average is read or saved: brings tables of which steps touch some rows up to date.
  void settle_average() const;

  runs::NamedTensors optimizer_state() const { return state_of(passes_); }
  void load_optimizer_state(std::map<std::string, at::Tensor> state) {
    load_state(passes_, std::move(state));
  }
  /// The share of the values the run began with that the average still holds.
  double first_values = 1;

 private:
  /// What came of the batches of one pass.
  struct Result {
    double loss = 0, norm = 0;
    std::vector<std::vector<nn::PendingUpdate>> pending;  ///< of each micro-batch
  };
  void run(const LearningPass& pass, const runs::RunState& state, StepReport& report);
  std::string update(const LearningPass& pass, const runs::RunState& state, StepReport& report);
  /// False: the pass did not apply, and with it the step.
  bool finish(const LearningPass& pass, const runs::RunState& state, StepReport& report);
  tasks::Batch batch(int64_t i, const runs::RunState& state, StepReport& report);
  bool takes_part(const LearningPass& pass, const runs::RunState& state) const {
    return state.step % pass.pass.every == 0;
  }

  const runs::Recipe& recipe_;
  const tasks::Task& task_;
  models::Model &model_, &average_;
  std::vector<nn::Parameter*> parameters_;  ///< of all passes
  std::vector<LearningPass> passes_;
  std::unique_ptr<Schedule> schedule_;
  std::unique_ptr<tasks::Stream> stream_;
  std::vector<tasks::Batch> batches_;  ///< of the step, where several passes see them
  Result result_;                      ///< of the pass that is under way
};

}  // namespace gallop::training
