#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/models/model.h"
#include "gallop/sparse/choice/inference_threshold.h"
#include "gallop/tasks/task.h"

namespace gallop::compute {

/// Its file in a run directory.
constexpr const char* dial_file = "dial.safetensors";

/// The compute dial: a model whose selection has thresholds has learned an order of all (token,
/// expert) pairs, so that other thresholds run the same weights with more or fewer experts a token.
/// One setting of it: thresholds by parameter name, for each range of noise levels.
struct DialSetting {
  double active = 0;                 ///< experts a token, on average over the calibration data
  std::vector<double> range_active;  ///< what each range of noise levels used of them
  sparse::ThresholdSetting thresholds;

  /// Inner borders of the ranges, in the times that the network is given.
  const std::vector<double>& edges() const { return thresholds.begin()->second.edges; }
};

constexpr int64_t refinements = 2;

struct DialOptions {
  std::vector<double> actives;  ///< 0 < active <= E, in the order of the settings
  int64_t batches = 0;          ///< fixed batches of training data, see tasks::calibration_run
  /// Ranges of noise levels, each with the same number of calibration samples and thresholds of its
  /// own. With more than one the experts go to those whose loss falls most for them, and `active`
  /// is the most that they use on average: nothing is spent where more experts do not help.
  int64_t ranges = 1;
  /// Called with the batches done of all; may throw to stop.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// Thresholds for each of the numbers of experts: first from the scores of training, then
/// `refinements` times from those that the model gives with these thresholds, since what a layer
/// keeps changes the scores of the next. Empty for models without thresholds.
std::vector<DialSetting> measure_dial(const tasks::Task& task, const models::Model& model,
                                      const DialOptions& options);

/// Throws Error where the thresholds of the setting are not those of this model.
void require_fit(const models::Model& model, const DialSetting& setting);

/// The settings in a safetensors file, with the metadata of the weights they were measured on.
void save_dial(const std::filesystem::path& path, const std::vector<DialSetting>& settings,
               const formats::Metadata& weights);
/// The setting for `active` of the file. Throws Error if it holds none (naming those it has), or if
/// it was measured on other weights than those with this metadata (role and step).
DialSetting load_dial(const std::filesystem::path& path, double active,
                      const formats::Metadata& weights);

}  // namespace gallop::compute
