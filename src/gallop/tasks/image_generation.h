#pragma once

#include <memory>
#include <optional>
#include <string>

#include "gallop/base/random.h"
#include "gallop/data/loader.h"
#include "gallop/diffusion/process.h"
#include "gallop/tasks/task.h"

namespace gallop::tasks {

/// [task] of kind "image-generation".
struct ImageGenerationSettings : config::Fields<ImageGenerationSettings> {
  config::Component objective{"objective", "flow"};
  void fields(config::Visitor& v) override;
};

/// Learns to turn noise into images (or latents), with or without class labels, by the objective's
/// process. The main loss is the mean over the samples of the process's; every kind of sparse loss
/// is the sum over its layers. Times, noise and label dropout are keyed by (seed, position in the
/// stream of training samples), so that a micro-batch is the same whenever and wherever it runs.
class ImageGeneration : public Task {
 public:
  ImageGeneration(const ImageGenerationSettings& settings, const Args& args);

  std::string unit() const override { return "image"; }
  std::unique_ptr<models::Denoiser> make_model() const override;
  void start(int64_t micro_batch, int64_t position) override;
  TrainOutput train(const models::Denoiser& model, int64_t micro_batch) override;
  /// The first samples of the test split, at times spread evenly over the process, with noise keyed
  /// by the sample, labels as given. The same for every batch size but for rounding, and but for
  /// selections that mix the samples of a batch.
  EvalOutput evaluate(const models::Denoiser& model,
                      const std::function<void(int64_t done, int64_t total)>& progress = {},
                      const Inference& inference = {}) override;
  void route(const models::Denoiser& model, int64_t batches, Routing routing,
             const std::function<void(const RoutedBatch&)>& visit,
             const Inference& inference = {}) override;
  /// See draw_samples. Images are clamped to [-1, 1], latents are not.
  at::Tensor sample(const models::Denoiser& model, const SampleRequest& request) const override;
  void check(const models::Denoiser& model, const SampleRequest& request) const override;
  const data::DatasetInfo& data_info() const override;
  const data::DatasetInfo& held_out_info() override;

 private:
  /// What the network is fed, on its device.
  struct Inputs {
    diffusion::Noised noised;
    at::Tensor label_B;
  };
  /// Adds noise at the times t_B; that of row i is the stream `noise.with_sample(first + i)`.
  Inputs corrupt(const models::Denoiser& model, const data::Batch& batch, const at::Tensor& t_B,
                 const NoiseKey& noise, int64_t first) const;
  /// Draws times, noise and label dropout of a batch of the training stream. `purpose` separates
  /// the random numbers of training from those of calibration.
  Inputs draw(const models::Denoiser& model, data::Batch batch, const std::string& purpose) const;
  data::Batch held_out_batch(int64_t first, int64_t count) const;
  const std::shared_ptr<const data::Dataset>& held_out_data();
  /// Opens a split; its samples must be like those of `info_`, if that is known. Warns of what
  /// differs from the data that the weights have seen.
  std::shared_ptr<const data::Dataset> open(const std::string& split) const;
  const std::shared_ptr<const data::Dataset>& training_data() const;

  Args args_;
  std::shared_ptr<const diffusion::Process> process_;
  mutable std::optional<data::DatasetInfo> info_;
  mutable std::shared_ptr<const data::Dataset> training_data_;
  std::shared_ptr<const data::Dataset> held_out_;
  std::unique_ptr<data::Loader> loader_;
  data::UnreadableLog unreadable_;
  sparse::StepSums step_sums_;
  int64_t next_ = 0;  ///< the micro-batch that `loader_` gives next
};

}  // namespace gallop::tasks
