#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "gallop/formats/artifact.h"
#include "gallop/runs/recipe.h"

namespace gallop::runs {

/// What files and folders of a step are named by: "step-00001000".
std::string step_name(int64_t step);

/// The recipe of a run as resolved, in the folder of the run and in each of its checkpoints.
inline constexpr const char* recipe_file = "config.toml";

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
  std::filesystem::path config_file() const { return path_ / recipe_file; }
  /// Writes what was made at a step: a picture called "samples" to samples/step-00001000.png, other
  /// forms to files of theirs (formats::ending_of).
  void write(int64_t step, const formats::Artifact& artifact) const;

  void write_recipe(Recipe& recipe) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace gallop::runs
