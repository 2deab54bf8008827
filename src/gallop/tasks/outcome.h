#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gallop/nn/pending_update.h"
#include "gallop/sparse/choice/inference_threshold.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::tasks {

/// What a batch is run for; it says which random numbers the run draws.
enum class Purpose {
  train,      ///< to learn from it
  calibrate,  ///< to see how training data are routed, without learning
  evaluate,   ///< to judge the model: the same inputs at every time
};

/// What the micro-batches of one step have in common.
using StepMemory = sparse::StepSums;

/// How a batch is run, beside the model.
struct Forward {
  Purpose purpose = Purpose::train;
  bool training = true;        ///< route as training does; else as at inference, by thresholds
  int64_t micro_batches = 1;   ///< of the step, this being one of them
  StepMemory* step = nullptr;  ///< null: the batch stands alone
  const sparse::ThresholdSetting* thresholds = nullptr;  ///< null: those of the model
};

/// A scalar with a graph; what is minimised is the sum of weight * value.
struct NamedLoss {
  std::string name;
  at::Tensor value;
  double weight = 1;
};

/// What came of a batch.
struct Outcome {
  std::vector<NamedLoss> losses;  ///< what is minimised; where the purpose is to train
  std::vector<std::pair<std::string, at::Tensor>> parts;  ///< scalars that are logged only
  /// Losses of each sample by name, without a graph; the first one is the main loss, by which
  /// models are compared.
  std::vector<std::pair<std::string, at::Tensor>> of_samples_B;
  std::map<std::string, at::Tensor> extras;  ///< what meters of the task's own read; no graph
  at::Tensor time_B;  ///< as the network was given it; undefined where it is given none
  std::vector<sparse::RoutingRecord> routing;
  /// What the step should remember beside what the routing wants remembered.
  std::vector<nn::PendingUpdate> pending;
};

/// Adds the losses that read the routing of a training forward, what is logged beside them and what
/// they want remembered. `target_BLH` is the training target in token layout; undefined where the
/// task has none of that kind.
void add_routing_losses(Outcome& outcome, const Forward& forward, const at::Tensor& target_BLH);

}  // namespace gallop::tasks
