#include "gallop/training/checkpoints.h"

#include <utility>

#include "gallop/base/error.h"

namespace gallop::training {

Checkpoints::Checkpoints(runs::CheckpointStore& store, Run& run, std::string recipe_toml,
                         std::function<runs::Snapshot()> snapshot)
    : store_(store),
      run_(run),
      recipe_toml_(std::move(recipe_toml)),
      snapshot_(std::move(snapshot)) {}

void Checkpoints::after_step() {
  due_ = due_ || run_.due(run_.recipe.checkpoint.every);
  if (due_ && run_.state.skipped_in_row == 0) start();
  if (const auto result = saver_.poll()) note(*result);
}

void Checkpoints::save() {
  wait();
  run_.log.sync();  // a resumed run does not write these lines again
  store_.save(snapshot_(), recipe_toml_);
  saved_step_ = run_.state.step;
}

void Checkpoints::start() {
  due_ = false;
  const bool in_background = run_.recipe.checkpoint.background_save;
  if (in_background) wait();
  run_.or_warn("checkpoint", [&] {
    if (!in_background) return save();
    saver_.start(snapshot_(), recipe_toml_, [this] { run_.log.sync(); });
  });
}

void Checkpoints::wait() {
  if (const auto result = saver_.wait()) note(*result);
}

void Checkpoints::note(const runs::SaveResult& result) {
  run_.or_warn("checkpoint", result.step, [&] {
    if (!result.error.empty()) fail(result.error);
    saved_step_ = result.step;
  });
}

}  // namespace gallop::training
