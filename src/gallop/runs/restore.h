#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "gallop/formats/safetensors.h"
#include "gallop/models/model.h"
#include "gallop/runs/recipe.h"
#include "gallop/tasks/task.h"

namespace gallop::runs {

/// A model with its weights and what belongs to it, for everything that is not training.
struct Restored {
  Recipe recipe;
  std::unique_ptr<tasks::Task> task;
  std::unique_ptr<models::Model> model;  ///< without gradients
  std::filesystem::path weights;         ///< the file that was read
  formats::Metadata metadata;            ///< of that file: "step", "role", "threshold", ...
};

/// The task of a recipe. Throws Error if its precision cannot run here. `weights`: what a weights
/// file says of itself, so that the data need not be there (see tasks::Task::Args).
std::unique_ptr<tasks::Task> make_task(const Recipe& recipe,
                                       const std::optional<formats::Metadata>& weights = {},
                                       const collectives::World& world = {});

/// The network of a recipe, not allocated yet, without data where the recipe states its sizes
/// ([task.model] channels, image, classes); where it does not state all, the data that it names are
/// asked, and it is said. Throws Error where it names none.
std::unique_ptr<models::Model> make_model(const Recipe& recipe);

/// Reads a run directory, a checkpoint folder or a weights file beside its recipe (see find_weights
/// and find_recipe). The data set is not opened where the weights or the recipe say what it holds,
/// so that sampling works where the data is not. A size that the recipe or an override states
/// (task.model.image) goes before that of the training; the position table is then computed for it.
Restored restore(const std::filesystem::path& run_or_weights, bool ema = true,
                 const std::vector<std::string>& overrides = {});

}  // namespace gallop::runs
