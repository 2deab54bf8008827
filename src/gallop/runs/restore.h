#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "gallop/formats/safetensors.h"
#include "gallop/models/denoiser.h"
#include "gallop/runs/recipe.h"
#include "gallop/tasks/task.h"

namespace gallop::runs {

/// A model with its weights and what belongs to it, for everything that is not training.
struct Restored {
  Recipe recipe;
  std::unique_ptr<tasks::Task> task;
  std::unique_ptr<models::Denoiser> model;  ///< without gradients
  std::filesystem::path weights;            ///< the file that was read
  formats::Metadata metadata;               ///< of that file: "step", "role", "threshold", ...
};

/// The task of a recipe. Throws Error if its precision cannot run here. `info` and `held_out`: what
/// the data holds, where that is known without opening it (see tasks::Task::Args).
std::unique_ptr<tasks::Task> make_task(const Recipe& recipe,
                                       const std::optional<data::DatasetInfo>& info = {},
                                       const std::optional<data::DatasetInfo>& held_out = {});

/// Reads a run directory, a checkpoint folder or a weights file beside its recipe (see find_weights
/// and find_recipe). The data set is not opened where the weights or the recipe say what it holds
/// (see known_data), so that sampling works where the data is not. A size that the recipe or an
/// override states (model.image) goes before that of the training; the position table is then
/// computed for it.
Restored restore(const std::filesystem::path& run_or_weights, bool ema = true,
                 const std::vector<std::string>& overrides = {});

/// Metadata of a weights file that `restore` needs: what the data holds.
std::string to_metadata(const data::DatasetInfo& info);
data::DatasetInfo info_from_metadata(const std::string& text);

}  // namespace gallop::runs
