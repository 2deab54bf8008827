#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/tasks/evaluate.h"

namespace gallop::compute {

/// Batches of training data that thresholds are calibrated on, unless someone says otherwise.
constexpr int64_t calibration_batches = 64;
/// Memory that calibration takes beside that of a forward, whatever the model and the batches; half
/// as much again for a moment.
constexpr int64_t calibration_bytes = int64_t{128} << 20;

/// The exact thresholds of one sparse layer on some data.
struct LayerThresholds {
  std::string layer;
  const sparse::Selection* selection = nullptr;
  std::vector<at::Tensor> values;  ///< one for each number of experts that was asked for
};

/// The layers with thresholds on N samples.
struct MeasuredThresholds {
  std::vector<LayerThresholds> layers;  ///< empty for models without thresholds
  at::Tensor time_N, loss_N;            ///< see tasks::Outcome; the main loss of each sample
  at::Tensor active_N;                  ///< experts a token that were used, a mean over the layers
};

/// Numbers of experts a token, each wanted for a threshold, of a model with so many experts;
/// absent: that of the model itself.
using WantedActives = std::function<std::vector<std::optional<double>>(int64_t experts)>;

/// Measured on fixed batches of training data, keyed by the recipe's seed. The thresholds
/// are exact, as if all scores were sorted, but only those near the wanted ranks are kept: where
/// scores drift so much from batch to batch that this misses some (it is logged), the same batches
/// are run again. `progress` is called after every batch of the first pass, and of others with
/// the number of them; it may throw to stop. Throws Error for scores that are NaN. `bytes` bounds
/// the memory as calibration_bytes does, and changes no result.
MeasuredThresholds measure_thresholds(const tasks::Task& task, const models::Model& model,
                                      const tasks::CalibrationRun& run, const WantedActives& wanted,
                                      const std::function<void(int64_t batch)>& progress = {},
                                      int64_t bytes = calibration_bytes);

/// The threshold of one sparse layer before and after.
struct CalibratedLayer {
  std::string layer;
  at::Tensor before, after;
};

/// Sets every inference threshold of the model exactly: the (1 - k/E) quantile of the gated scores
/// that the model itself gives on a fixed sample of training data, keyed by the recipe's seed.
/// Empty for models without thresholds. `progress` is called after every batch and may throw to
/// stop; the thresholds change at the end only.
std::vector<CalibratedLayer> calibrate(const tasks::Task& task, models::Model& model,
                                       int64_t batches = calibration_batches,
                                       const std::function<void(int64_t batch)>& progress = {});

}  // namespace gallop::compute
