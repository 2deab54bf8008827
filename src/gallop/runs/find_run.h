#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "gallop/runs/recipe.h"

namespace gallop::runs {

/// Whether a folder is that of a run: config.toml, and something that training left beside it.
bool is_run(const std::filesystem::path& folder);

/// What `gallop train` is asked to train: a recipe, a run (its folder) or the config.toml in a
/// run's folder. A run is trained where it lies, whatever `out` in its config.toml says; `out`, or
/// `--set out=...` among the overrides, makes it another run with the same recipe, which is said.
/// Throws Error for a folder that is no run, and for a checkpoint or its recipe without `out`.
Recipe load_run(const std::filesystem::path& recipe_or_run,
                const std::vector<std::string>& overrides, const std::string& out = {});

}  // namespace gallop::runs
