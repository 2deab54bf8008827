#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/tasks/task.h"

namespace gallop::training {

/// Batches of training data that thresholds are calibrated on, unless someone says otherwise.
constexpr int64_t calibration_batches = 64;

/// What the threshold of one sparse layer is compared with.
struct LayerScores {
  std::string layer;
  sparse::Selection* selection = nullptr;
  at::Tensor compared_NLE;  ///< of all samples
};

/// The layers with thresholds on the same N samples.
struct CollectedScores {
  std::vector<LayerScores> layers;  ///< empty for models without thresholds
  at::Tensor time_N, loss_N;        ///< see tasks::RoutedBatch
  at::Tensor active_N;              ///< experts a token that were used, a mean over the layers
};

/// Of `batches` fixed batches of training data, keyed by the recipe's seed. `progress` is called
/// after every batch and may throw to stop.
CollectedScores collect_scores(tasks::Task& task, const models::Model& model, int64_t batches,
                               tasks::Task::Routing routing,
                               const std::function<void(int64_t batch)>& progress = {});

/// The threshold of one sparse layer before and after.
struct CalibratedLayer {
  std::string layer;
  at::Tensor before, after;
};

/// Sets every inference threshold of the model exactly: the (1 - k/E) quantile of the gated scores
/// that the model itself gives on a fixed sample of training data, keyed by the recipe's seed.
/// Empty for models without thresholds. `progress` is called after every batch and may throw to
/// stop; the thresholds change at the end only.
std::vector<CalibratedLayer> calibrate(tasks::Task& task, const models::Model& model,
                                       int64_t batches = calibration_batches,
                                       const std::function<void(int64_t batch)>& progress = {});

}  // namespace gallop::training
