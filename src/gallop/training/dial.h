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

/// Thresholds for each of `actives` (0 < active <= E), exact on `batches` fixed batches of training
/// data (see Task::route). Empty for models without thresholds; the model is not changed.
/// `progress` is called after every batch and may throw to stop.
std::vector<DialSetting> measure_dial(tasks::Task& task, const models::Model& model,
                                      const std::vector<double>& actives, int64_t batches,
                                      const std::function<void(int64_t batch)>& progress = {});

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
