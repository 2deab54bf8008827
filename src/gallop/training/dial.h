#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/tasks/task.h"

namespace gallop::training {

/// Its file in a run directory.
constexpr const char* dial_file = "dial.safetensors";

/// The compute dial: a model whose selection has thresholds has learned an order of all (token,
/// expert) pairs, so that other thresholds run the same weights with more or fewer experts a token.
/// One setting of it: thresholds by parameter name.
struct DialSetting {
  double active = 0;  ///< experts a token, on average over the calibration data
  std::map<std::string, at::Tensor> thresholds;
};

constexpr int64_t refinements = 2;

/// Puts back the thresholds that a model had.
class ThresholdGuard {
 public:
  explicit ThresholdGuard(const models::Model& model);
  ~ThresholdGuard();
  ThresholdGuard(const ThresholdGuard&) = delete;
  ThresholdGuard& operator=(const ThresholdGuard&) = delete;

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> before_;  // buffer, its value
};

/// Thresholds for each of `actives` (0 < active <= E) on `batches` fixed batches of training data
/// (see Task::route): first from the scores of training, then `refinements` times from those that
/// the model gives with these thresholds, since what a layer keeps changes the scores of the next.
/// Empty for models without thresholds; the model is as before at the end. `progress` is called
/// with the batches done of all and may throw to stop.
std::vector<DialSetting> measure_dial(
    tasks::Task& task, const models::Model& model, const std::vector<double>& actives,
    int64_t batches, const std::function<void(int64_t done, int64_t total)>& progress = {});

/// Puts the thresholds into the model. Throws Error where they are not those of this model.
void turn_dial(const models::Model& model, const DialSetting& setting);

/// The settings in a safetensors file, with the metadata of the weights they were measured on.
void save_dial(const std::filesystem::path& path, const std::vector<DialSetting>& settings,
               const formats::Metadata& weights);
/// The setting for `active` of the file. Throws Error if it holds none (naming those it has), or if
/// it was measured on other weights than those with this metadata (role and step).
DialSetting load_dial(const std::filesystem::path& path, double active,
                      const formats::Metadata& weights);

}  // namespace gallop::training
