#include "tests/tasks/image_task.h"

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "tests/tasks/synthetic_data.h"
#include "tests/tasks/tiny_race.h"

namespace gallop::testing {

ImageTask::ImageTask() {
  settings.data = synthetic();
  settings.model = tiny_race();
  settings.eval.samples = 20;
  settings.eval.batch = 8;
}

std::unique_ptr<tasks::Task> ImageTask::make() const {
  config::Component component("task", "image-generation");
  component.as<tasks::ImageGenerationSettings>() = settings;
  return config::make<tasks::Task>(component, args);
}

tasks::Outcome Driver::train_at(const models::Model& model, int64_t first) {
  if (!stream_) stream_ = task_.stream(tasks::Split::train);
  const tasks::Batch batch = stream_->at(first, task_.args().batch);
  samples = batch.samples;
  return task_.run(model, batch, {}, {});
}

std::unique_ptr<models::Denoiser> denoiser_of(const tasks::Task& task) {
  auto model = task.make_model();
  auto* denoiser = dynamic_cast<models::Denoiser*>(model.get());
  require(denoiser != nullptr, "this task has another kind of network");
  model.release();
  return std::unique_ptr<models::Denoiser>(denoiser);
}

at::Tensor drawn(const tasks::Generator& generator, const models::Model& model,
                 const tasks::Plan& plan) {
  return generator.tensors(plan, tasks::generate(generator, model, plan)).at(0).second;
}

at::Tensor drawn(const tasks::Task& task, const models::Model& model,
                 const std::vector<int64_t>& labels,
                 const std::function<void(tasks::SampleSettings&)>& edit) {
  const tasks::Generator& generator = *task.generator();
  const auto asked = generator.settings();
  auto& settings = dynamic_cast<tasks::SampleSettings&>(*asked);
  settings.labels.clear();
  for (const int64_t label : labels) settings.labels.push_back("@" + std::to_string(label));
  const auto* denoiser = dynamic_cast<const models::Denoiser*>(&model);
  const int64_t classes = denoiser->args().classes;
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] == classes) settings.labels[i] = "@none";
  if (classes == 0) settings.labels.clear();
  settings.count = static_cast<int64_t>(labels.size());
  if (edit) edit(settings);
  return drawn(generator, model, generator.plan(model, settings));
}

}  // namespace gallop::testing
