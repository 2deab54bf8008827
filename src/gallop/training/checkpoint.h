#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/training/recipe.h"

namespace gallop::training {

namespace fs = std::filesystem;

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Everything that a run needs to go on as if nothing had happened.
struct Snapshot {
  int64_t step = 0;         ///< steps taken so far, skipped ones included
  NamedTensors model, ema;  ///< all parameters and buffers by name
  NamedTensors optimizer;   ///< moments by parameter name and kind, e.g. "exp_avg.blocks.0..."
  Json state;               ///< counters and everything else; printed by `gallop inspect`
  std::map<std::string, std::string> model_metadata,
      ema_metadata;  ///< role, step, decay, threshold kind, ...
};

/// A checkpoint on disk whose manifest was verified.
struct SavedCheckpoint {
  fs::path path;
  int64_t step = 0;
};

/// Checkpoints of a run directory: `checkpoints/step-00001000/` with model, ema and
/// optimizer.safetensors, state.json, recipe.toml and, last, manifest.json (format version, size
/// and XXH3-128 of each file). Written to a temporary folder beside it, synced, renamed; older ones
/// are removed only after the new one was read back and verified.
class CheckpointStore {
 public:
  CheckpointStore(fs::path run_directory, CheckpointConfig config);
  /// Returns the folder. Throws Error (disk full, read-only folder) and leaves older checkpoints as
  /// they are.
  fs::path save(const Snapshot& snapshot, const std::string& recipe_toml);
  /// The newest checkpoint that passes verification; damaged ones are named in a warning with file
  /// and reason and passed over. Temporary folders of killed saves are ignored.
  std::optional<SavedCheckpoint> newest() const;
  /// Reads everything of a verified checkpoint.
  static Snapshot load(const fs::path& checkpoint);

 private:
  fs::path directory_;
  CheckpointConfig config_;
};

/// Checks manifest, sizes and hashes; throws Error naming the file and the reason.
void verify_checkpoint(const fs::path& checkpoint);

/// What a user may name where weights are wanted: a run directory (its newest good checkpoint), a
/// checkpoint folder, or a safetensors file. `ema` chooses between the two of a checkpoint.
fs::path find_weights(const fs::path& run_or_weights, bool ema = true);
/// The recipe text that belongs to it: of the run, the checkpoint, or the file's folder; empty if
/// none.
std::string find_recipe(const fs::path& run_or_weights);

}  // namespace gallop::training
