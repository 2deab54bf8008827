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
#include "gallop/runs/recipe.h"

namespace gallop::runs {

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

/// Its last file, which says what belongs to it.
inline constexpr const char* manifest_file = "manifest.json";

/// A checkpoint on disk.
struct SavedCheckpoint {
  fs::path path;
  int64_t step = 0;
};

/// Checkpoints of a run directory: `checkpoints/step-00001000/` with model, ema and
/// optimizer.safetensors, state.json, config.toml (the recipe as resolved) and, last, manifest.json
/// (format version, size and XXH3-128 of each file, tensors that are not finite). Written to a
/// folder `step-00001000.tmp`, synced, renamed, read back; older ones are removed only after that.
/// Another save of the same step keeps the first as `step-00001000.old` until it is verified
/// itself. One with NaN or infinite values is saved as well, for those who look for the cause, but
/// counts apart: the newest `keep_last` finite ones stay whatever came after them.
class CheckpointStore {
 public:
  CheckpointStore(fs::path run_directory, CheckpointConfig config);
  /// Returns the folder. Throws Error (disk full, read-only folder) and leaves the other
  /// checkpoints usable. An older one that cannot be removed is a warning.
  fs::path save(const Snapshot& snapshot, const std::string& recipe_toml);
  /// All that are there, newest first, not verified. Temporary folders of killed saves are ignored.
  std::vector<SavedCheckpoint> all() const;
  /// The newest checkpoint that passes verification and is finite; damaged ones, and those with NaN
  /// or infinite values, are named in a warning with the reason and passed over. Without a finite
  /// one the newest whole one, which is said. Throws Error if there are checkpoints and none of
  /// them is whole: a run must not start again over them.
  std::optional<SavedCheckpoint> newest() const;
  /// Everything of a verified checkpoint; the tensors lie in its files (see nn::map_tensors).
  static Snapshot load(const fs::path& checkpoint);

 private:
  bool has_others(const fs::path& target) const;
  void sweep() const;
  void make_room(const fs::path& target) const;
  bool is_replaced(const SavedCheckpoint& saved) const;
  bool is_kept(const SavedCheckpoint& saved, int64_t& finite, int64_t& others) const;
  void remove_older_than(int64_t step) const;

  fs::path directory_;
  CheckpointConfig config_;
};

/// Checks manifest, sizes and hashes; throws Error naming the file and the reason.
void verify_checkpoint(const fs::path& checkpoint);

/// Which tensors of a verified checkpoint hold NaN or infinite values, in words
/// ("model.safetensors: blocks.0.w (3 of 64)"); empty: none. From the manifest; where that is from
/// before it was noted, by reading them.
std::string non_finite_values(const fs::path& checkpoint);

/// What a user may name where weights are wanted: a run directory (its newest good checkpoint), a
/// checkpoint folder, the config.toml in one of them, a safetensors file, or the index of shards or
/// the folder with it. `ema` chooses between the two of a checkpoint.
fs::path find_weights(const fs::path& run_or_weights, bool ema = true);
/// Where files about these weights lie: the folder that was named, or the folder of the file.
fs::path folder_of(const fs::path& run_or_weights);
/// The recipe that belongs to it: the text of config.toml in the run, the checkpoint, or the file's
/// folder; empty if there is none.
std::string find_recipe(const fs::path& run_or_weights);

}  // namespace gallop::runs
