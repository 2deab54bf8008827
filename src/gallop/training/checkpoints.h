#pragma once

#include <functional>
#include <string>

#include "gallop/runs/background_save.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/training/run.h"

namespace gallop::training {

/// When a run is saved, and how: every checkpoint.every steps in the background or not, and where
/// the trainer says.
class Checkpoints {
 public:
  /// `snapshot` gives the state of the moment; `recipe_toml` is kept with it.
  Checkpoints(runs::CheckpointStore& store, Run& run, std::string recipe_toml,
              std::function<runs::Snapshot()> snapshot);

  /// That of this step is there already.
  void resumed_from(int64_t step) { saved_step_ = step; }
  /// What is saved does not hold what the run has now.
  void outdated() { saved_step_ = -1; }
  bool has(int64_t step) const { return saved_step_ == step; }
  /// Saves if one is due. After a step that was not applied it waits: the weights may be at fault,
  /// finite as they are, and must not take the place of a good checkpoint.
  void after_step();
  /// Saves now; throws Error if that fails.
  void save();
  /// Waits for a save in the background, and notes how it ended.
  void wait();

 private:
  void start();
  void note(const runs::SaveResult& result);

  runs::CheckpointStore& store_;
  Run& run_;
  std::string recipe_toml_;
  std::function<runs::Snapshot()> snapshot_;
  runs::BackgroundSaver saver_{store_};  // after what its thread uses
  int64_t saved_step_ = -1;
  bool due_ = false;  // waits for an applied step
};

}  // namespace gallop::training
