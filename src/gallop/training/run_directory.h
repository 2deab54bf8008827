#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gallop/training/recipe.h"

namespace gallop::training {

/// What files and folders of a step are named by: "step-00001000".
std::string step_name(int64_t step);

/// The folder of a run while it is trained, locked against a second training process. Its layout is
/// in docs/architecture.md.
class RunDirectory {
 public:
  /// Creates the folder if needed and takes the lock. Throws Error if another process holds it, or
  /// if the folder cannot be written.
  explicit RunDirectory(std::filesystem::path path);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config_file() const { return path_ / "config.toml"; }
  /// samples/step-00001000.png, the folder made if needed.
  std::filesystem::path sample_file(int64_t step) const;

  /// The run's config.toml, where there is one.
  std::optional<Recipe> recipe() const;
  /// What differs between the run's config.toml and this recipe, a line a key ("train.steps: 30 ->
  /// 40"); nothing without a config.toml. Keys that change what the saved state means (model, data,
  /// batch, precision, seed, ...) are an Error unless `allow` names them or a table above them.
  /// Where the run began without ema.warmup, once the default, the recipe is set to that unless
  /// `allow` names it.
  std::vector<std::string> compare_recipe(Recipe& recipe,
                                          const std::vector<std::string>& allow) const;
  void write_recipe(Recipe& recipe) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

/// Whether a changed value of this key changes what a checkpoint means.
bool changes_state(const std::string& key);

}  // namespace gallop::training
