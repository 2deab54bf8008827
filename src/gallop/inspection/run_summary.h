#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/recipe.h"

namespace gallop::inspection {

/// A line of log.jsonl.
struct LogLine {
  int64_t step = 0;
  std::string kind;                                    ///< "train", "eval", ...
  std::vector<std::pair<std::string, double>> values;  ///< NaN for what was not finite
};

/// The whole lines of a log; one that is cut short or no JSON is left out. Empty without a file.
std::vector<LogLine> read_log(const std::filesystem::path& path);

/// A checkpoint of a run and what is wrong with it.
struct CheckedCheckpoint {
  runs::SavedCheckpoint saved;
  uint64_t bytes = 0;  ///< of all its files
  std::string damage;  ///< empty: verified
  /// Which tensors hold NaN or infinite values; empty: none, or damaged.
  std::string not_finite;
};
std::vector<CheckedCheckpoint> check_checkpoints(const std::filesystem::path& run);

/// The one that the run would go on from, as CheckpointStore::newest() chooses; null if none is
/// whole.
const CheckedCheckpoint* best_of(const std::vector<CheckedCheckpoint>& checkpoints);

/// The main settings of a recipe, a section a line: ("train", "steps=1600, batch=64, ...").
std::vector<std::pair<std::string, std::string>> main_settings(runs::Recipe& recipe);

/// What the metadata of a weights file say of it: "EMA weights (decay 0.999000) of step 1600",
/// "exact", each in the words that a reader expects; empty where they say nothing.
std::string role_text(const formats::Metadata& metadata);
std::string threshold_text(const formats::Metadata& metadata);

}  // namespace gallop::inspection
