#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/tasks/evaluate.h"

namespace gallop::training {

/// What the threshold of one sparse layer is compared with, of all samples at once.
struct LayerScores {
  std::string layer;
  const sparse::Selection* selection = nullptr;
  at::Tensor compared_NLE;
};

struct CollectedScores {
  std::vector<LayerScores> layers;  ///< those with thresholds
  at::Tensor time_N;
};

/// Of fixed batches of training data, as the thresholds are measured on.
CollectedScores collect_scores(const tasks::Task& task, const models::Model& model,
                               const tasks::CalibrationRun& run);

}  // namespace gallop::training
