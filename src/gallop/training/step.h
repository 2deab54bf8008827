#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gallop/models/denoiser.h"
#include "gallop/nn/pending_update.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_state.h"
#include "gallop/tasks/report.h"
#include "gallop/tasks/task.h"
#include "gallop/training/optimizer.h"
#include "gallop/training/schedule.h"

namespace gallop::training {

/// What one step did.
struct StepReport {
  std::map<std::string, double> values;  ///< "loss", each loss and part by name, "grad_norm", "lr"
  std::vector<std::vector<nn::PendingUpdate>> pending;  ///< of each micro-batch
  std::vector<int64_t> samples;
  int64_t replaced = 0;        ///< of the samples, those that others stand for
  tasks::StepRemarks remarks;  ///< of the last micro-batch
  bool applied = false;        ///< whether the weights have moved
  std::string spike;           ///< why a finite step is not applied; empty: it is
  std::string overflown;       ///< what an update would have made NaN or infinite; empty: nothing
  std::string gradient;  ///< the first one that is not finite, where the step is not; empty: none

  double loss() const { return values.at("loss"); }
  double norm() const { return values.at("grad_norm"); }
  bool finite() const { return std::isfinite(loss()) && std::isfinite(norm()); }
};

/// Takes the steps of a run: the micro-batches one after the other (each routed on its own), the
/// gradient of their mean loss, clipping, the optimizer, then the pending updates in micro-batch
/// order and the average. A step whose loss or gradient norm is not finite, which is a spike
/// (train.spike), or which would make a weight, its average or its moments NaN or infinite, changes
/// nothing and is counted.
class Stepper {
 public:
  /// The models are materialised and outlive this.
  Stepper(const runs::Recipe& recipe, tasks::Task& task, models::Denoiser& model,
          models::Denoiser& average);

  /// Losses and gradients of the next step. Throws what reading or routing throws; nothing has
  /// changed then.
  StepReport compute(const runs::RunState& state);
  /// The update, or the reason for none; counts the step in `state`. The gradients stay, for who
  /// looks at a step that was not applied.
  void apply(StepReport& report, runs::RunState& state);
  /// Before the next step, whatever became of this one.
  void forget_gradients();

  /// Before the average is read or saved: brings tables of which steps touch some rows up to date.
  void settle_average();

  Optimizer& optimizer() { return *optimizer_; }
  const Optimizer& optimizer() const { return *optimizer_; }
  /// The share of the values the run began with that the average still holds.
  double first_values = 1;

 private:
  std::string update(StepReport& report, const runs::RunState& state, double average_decay);

  const runs::Recipe& recipe_;
  tasks::Task& task_;
  models::Denoiser &model_, &average_;
  std::vector<nn::Parameter*> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
};

}  // namespace gallop::training
