#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/config/schema.h"
#include "gallop/data/dataset.h"
#include "gallop/diffusion/guidance.h"
#include "gallop/models/denoiser.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/choice/inference_threshold.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/statistics.h"

namespace gallop::tasks {

/// A scalar with a graph; the trainer minimises the sum of weight * value and knows no name.
struct NamedLoss {
  std::string name;
  at::Tensor value;
  double weight = 1;
};

/// One micro-batch of training.
struct TrainOutput {
  std::vector<NamedLoss> losses;  ///< what is minimised
  std::vector<std::pair<std::string, at::Tensor>>
      parts;  ///< logged only: parts of a loss ("mse", "vb")
  std::vector<sparse::RoutingRecord> routing;
  std::vector<int64_t> samples;  ///< indices in the data set, for reports of bad batches
  int64_t replaced = 0;          ///< samples that could not be read, whose place others took
};

/// One evaluation on the fixed held-out set.
struct EvalOutput {
  std::vector<std::pair<std::string, double>> losses;  ///< the first is the main one
  double experts_per_token = 0, max_violation = 0,
         starved = 0;  ///< over layers of experts, by threshold
  double active = 0;   ///< wanted experts a token; 0 without experts
  /// The same of heads, depths and masks that tokens choose from, by that name.
  std::vector<std::pair<std::string, sparse::RoutingStatistics>> others;
  int64_t samples = 0;
  int64_t replaced = 0;  ///< of them, those that others stand for: data.on_error
};

/// One batch that was routed without learning from it.
struct RoutedBatch {
  std::vector<sparse::RoutingRecord> records;
  at::Tensor time_B;  ///< as the network is given it
  at::Tensor loss_B;  ///< the main loss of each sample
};

/// How a model is used, beside its weights.
struct Inference {
  const sparse::ThresholdSetting* thresholds = nullptr;  ///< null: those of the model
};

/// Images that someone wants. Sample i of a seed has the same noise to the bit whatever the count
/// and the batch size, and is the same but for rounding, unless a selection of the model lets the
/// samples of a batch compete at inference (see sparse::selections_that_mix_samples).
struct SampleRequest {
  config::Component sampler{"sampler", "heun"};
  int64_t steps = 25;
  diffusion::GuidanceSettings guidance;
  std::vector<int64_t>
      labels;  ///< of each sample; the null label (= classes) draws without a class
  uint64_t seed = 0;
  int64_t first = 0;   ///< index of the first sample
  int64_t batch = 64;  ///< samples at once
  /// What stands in place of the model's thresholds, one for all samples or one for each (a null
  /// pointer: the model's own); empty: nothing. They outlive the request.
  std::vector<const sparse::ThresholdSetting*> thresholds;
  /// Called after every step of the sampler with what is done of the whole; may throw to stop.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// What is learned: turns batches into named losses. The trainer knows only this.
class Task {
 public:
  static constexpr const char* category = "task";
  struct Args {
    data::DataConfig data;
    config::Component model{"denoiser", "dit"};
    int64_t batch = 1;       ///< samples of a micro-batch
    int64_t accumulate = 1;  ///< micro-batches of a step
    uint64_t seed = 0;
    int64_t eval_samples = 0, eval_batch = 1;
    /// Of all that the task runs, samples and gradients included.
    ops::Precision precision = ops::Precision::float32;
    /// What the data holds, where that is known; the data set is then opened on first use only,
    /// with a warning of what differs. `held_out` is the same of the held-out split.
    std::optional<data::DatasetInfo> info, held_out;
    /// Whether someone said where the data are; if not, reading them is an Error.
    bool data_named = true;
  };
  virtual ~Task() = default;

  /// What a sample is called where rates are told: "image".
  virtual std::string unit() const { return "sample"; }
  /// The network for the data and the objective; nothing is allocated.
  virtual std::unique_ptr<models::Denoiser> make_model() const = 0;
  /// Starts reading at this micro-batch of the run, `position` samples of the training stream
  /// having been taken before. Must be called before `train`.
  virtual void start(int64_t micro_batch, int64_t position) = 0;
  /// Reads micro-batch `micro_batch` (they must come in order) and runs it.
  virtual TrainOutput train(const models::Denoiser& model, int64_t micro_batch) = 0;
  /// The held-out loss; every call uses the same (sample, time, noise). `progress` is called after
  /// every batch with the samples done of all, and may throw to stop.
  virtual EvalOutput evaluate(const models::Denoiser& model,
                              const std::function<void(int64_t done, int64_t total)>& progress = {},
                              const Inference& inference = {}) = 0;
  /// Routing of `batches` fixed batches of training data, keyed by the seed, as in training or as
  /// at inference (by thresholds, where the model has them) and without changing anything: what
  /// thresholds are calibrated on. Calls `visit` for each batch.
  enum class Routing { training, inference };
  virtual void route(const models::Denoiser& model, int64_t batches, Routing routing,
                     const std::function<void(const RoutedBatch&)>& visit,
                     const Inference& inference = {}) = 0;
  /// Draws samples [N, C, H, W] in float32 on the CPU, images in [-1, 1], all finite. Throws Error
  /// for a label that the model does not know, a sampler that does not fit the objective, and a
  /// sample that is not finite, with its index.
  virtual at::Tensor sample(const models::Denoiser& model, const SampleRequest& request) const = 0;
  /// Throws what `sample` would throw for this request; weights need not be there yet.
  virtual void check(const models::Denoiser& model, const SampleRequest& request) const = 0;
  /// What the data holds: its training split.
  virtual const data::DatasetInfo& data_info() const = 0;
  /// What the held-out split holds; opens it.
  virtual const data::DatasetInfo& held_out_info() = 0;
};

}  // namespace gallop::tasks
