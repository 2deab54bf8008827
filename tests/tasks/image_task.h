#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gallop/models/denoiser.h"
#include "gallop/tasks/generator.h"
#include "gallop/tasks/images/image_generation.h"
#include "gallop/tasks/images/settings.h"
#include "gallop/tasks/task.h"

namespace gallop::testing {

/// What a task on the synthetic images is made of, with small defaults.
struct ImageTask {
  tasks::ImageGenerationSettings settings;
  tasks::Task::Args args{.seed = 5, .batch = 6};
  ImageTask();
  std::unique_ptr<tasks::Task> make() const;
};

/// The training batches of a task, as the trainer takes them.
class Driver {
 public:
  explicit Driver(const tasks::Task& task) : task_(task) {}
  /// Runs the samples from `first` on, as many as a batch.
  tasks::Outcome train_at(const models::Model& model, int64_t first);
  /// Batch n.
  tasks::Outcome train(const models::Model& model, int64_t n) {
    return train_at(model, n * task_.args().batch);
  }
  std::vector<int64_t> samples;  ///< of the last batch

 private:
  const tasks::Task& task_;
  std::unique_ptr<tasks::Stream> stream_;
};

/// A model of a task as the network on images that it is.
std::unique_ptr<models::Denoiser> denoiser_of(const tasks::Task& task);

/// The images of a plan [N, C, H, W].
at::Tensor drawn(const tasks::Generator& generator, const models::Model& model,
                 const tasks::Plan& plan);
/// Those of these labels with the recipe's settings, changed by `edit`.
at::Tensor drawn(const tasks::Task& task, const models::Model& model,
                 const std::vector<int64_t>& labels,
                 const std::function<void(tasks::SampleSettings&)>& edit = {});

}  // namespace gallop::testing
