#include "gallop/runs/find_run.h"

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/log.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/run_directory.h"

namespace gallop::runs {
namespace {

fs::path here_if_empty(const fs::path& folder) { return folder.empty() ? fs::path(".") : folder; }

/// "runs/a/" and "./runs/a" are one folder.
fs::path identity(const fs::path& folder) {
  std::error_code ignored;
  fs::path full = fs::weakly_canonical(folder, ignored);
  if (ignored) full = fs::absolute(folder, ignored).lexically_normal();
  return full.has_filename() ? full : full.parent_path();
}

bool sets_out(const std::vector<std::string>& overrides) {
  return std::any_of(overrides.begin(), overrides.end(), [](const std::string& text) {
    std::string key = text.substr(0, text.find('='));
    std::erase(key, ' ');
    return key == "out" || key == "\"out\"" || key == "'out'";
  });
}

}  // namespace

bool is_run(const fs::path& folder) {
  return is_there(folder / recipe_file) && !is_there(folder / manifest_file) &&
         (is_there(folder / "log.jsonl") || is_there(folder / ".lock") ||
          !CheckpointStore(folder, {}).all().empty());
}

Recipe load_run(const fs::path& recipe_or_run, const std::vector<std::string>& overrides,
                const std::string& out) {
  const bool named_folder = is_folder(recipe_or_run);
  const fs::path file = named_folder ? recipe_or_run / recipe_file : recipe_or_run;
  const fs::path folder = here_if_empty(file.parent_path());
  require(!named_folder || is_there(file), "'", recipe_or_run.string(), "' is a folder without ",
          recipe_file, ": name a recipe, or the folder of a run, which has one");

  Recipe recipe = load_recipe(file.string(), overrides);
  const bool own_out = !out.empty() || sets_out(overrides);
  if (!out.empty()) recipe.out = out;
  const bool of_checkpoint = file.filename() == recipe_file && is_there(folder / manifest_file);
  require(own_out || !of_checkpoint, "'", recipe_or_run.string(),
          "' belongs to a checkpoint. The folder of its run goes on from the newest one that is "
          "whole; --out DIR starts a new run with this recipe.");
  const bool of_run = file.filename() == recipe_file && is_run(folder);
  require(of_run || of_checkpoint || !named_folder, "'", recipe_or_run.string(), "' holds a ",
          recipe_file,
          " and nothing that a run leaves: it is no run. To train that recipe, name "
          "the file.");
  if (!of_run) return recipe;
  if (!own_out) {
    if (identity(recipe.out) != identity(folder)) {
      log_info("the run lies in '", folder.string(), "' (its ", recipe_file, " says '", recipe.out,
               "') and is trained there");
    }
    recipe.out = folder.string();
  } else if (identity(recipe.out) != identity(folder)) {
    log_info("the recipe of '", folder.string(), "' for the run in '", recipe.out,
             "'; the run in '", folder.string(), "' stays as it is");
  }
  return recipe;
}

}  // namespace gallop::runs
