#pragma once

#include <memory>
#include <string>

#include "gallop/base/random.h"
#include "gallop/diffusion/objective.h"
#include "gallop/models/denoiser.h"
#include "gallop/tasks/images/image_data.h"
#include "gallop/tasks/images/image_generator.h"
#include "gallop/tasks/images/settings.h"
#include "gallop/tasks/task.h"

namespace gallop::tasks {

/// Learns to turn noise into images (or latents), with or without class labels, by the objective's
/// process. The main loss is the mean over the samples of the objective's; every kind of sparse
/// loss is the sum over its layers. In training, times, noise and label dropout are keyed by (seed,
/// number of the sample in the stream). Held-out samples have times spread evenly over the process,
/// noise keyed by the sample and labels as given.
class ImageGeneration : public Task {
 public:
  ImageGeneration(const ImageGenerationSettings& settings, const Args& args);

  std::string unit() const override { return "image"; }
  Json description(Split split) const override;
  std::string data_text() const override;
  std::vector<data::Change> changes(Split split, const Json& before) const override;
  bool same_data(Split split, const Json& before) const override;
  std::vector<std::string> change_keys() const override;
  TaskMemory memory() const override;

  std::unique_ptr<models::Model> make_model() const override;
  std::unique_ptr<Stream> stream(Split split) const override;
  int64_t evaluation_batch() const override { return settings_.eval.batch; }
  Outcome run(const models::Model& model, const Batch& batch, const Pass& pass,
              const Forward& forward) const override;
  const Generator* generator() const override { return &generator_; }

  const data::DatasetInfo& info() const { return data_->info(); }

 private:
  /// What the network is fed, on its device.
  struct Inputs {
    diffusion::Noised noised;
    at::Tensor label_B;
  };
  /// Adds noise at the times t_B; that of row i is the stream `noise.with_sample(first + i)`.
  Inputs corrupt(const models::Denoiser& model, const at::Tensor& clean_BCHW,
                 const at::Tensor& label_B, const at::Tensor& t_B, const NoiseKey& noise,
                 int64_t first) const;
  /// Draws times, noise and label dropout of samples of the training stream. `purpose` separates
  /// the random numbers of training from those of calibration.
  Inputs draw(const models::Denoiser& model, const Batch& batch, const std::string& purpose) const;
  /// The same of held-out samples, where nothing is left to chance but the noise.
  Inputs spread(const models::Denoiser& model, const Batch& batch) const;

  struct Opened {
    std::shared_ptr<const ImageData> data;
    bool other_size = false;
  };
  static Opened open(const ImageGenerationSettings& settings, const Args& args);
  ImageGeneration(const ImageGenerationSettings& settings, const Args& args, Opened opened);

  ImageGenerationSettings settings_;
  std::shared_ptr<const diffusion::Objective> objective_;
  bool other_size_ = false;  ///< the recipe states another size than that of the training
  std::shared_ptr<const ImageData> data_;
  ImageGenerator generator_;
};

}  // namespace gallop::tasks
