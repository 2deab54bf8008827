#include "tests/support/unlucky_task.h"

#include <memory>

#include "gallop/config/registry.h"
#include "gallop/tasks/image_generation.h"

namespace gallop::test {
namespace {

class UnluckyTask : public tasks::ImageGeneration {
 public:
  using ImageGeneration::ImageGeneration;

  tasks::TrainOutput train(const models::Denoiser& model, int64_t micro_batch) override {
    tasks::TrainOutput out = ImageGeneration::train(model, micro_batch);
    if (trouble().after_train) trouble().after_train(out);
    return out;
  }
  tasks::EvalOutput evaluate(const models::Denoiser& model,
                             const std::function<void(int64_t, int64_t)>& progress,
                             const tasks::Inference& inference) override {
    const auto on_batch = [&](int64_t done, int64_t total) {
      const auto inform = [&] { progress(done, total); };
      if (trouble().during_evaluate) return trouble().during_evaluate(inform);
      inform();
    };
    tasks::EvalOutput out = ImageGeneration::evaluate(model, on_batch, inference);
    if (trouble().after_evaluate) trouble().after_evaluate(out);
    return out;
  }
  void route(const models::Denoiser& model, int64_t batches, Routing routing,
             const std::function<void(const tasks::RoutedBatch&)>& visit,
             const tasks::Inference& inference) override {
    if (trouble().before_route) trouble().before_route();
    ImageGeneration::route(model, batches, routing, visit, inference);
  }
};

const config::Register<tasks::Task, tasks::ImageGenerationSettings> registered{
    "unlucky", "for tests", "",
    [](const tasks::ImageGenerationSettings& settings, const tasks::Task::Args& args) {
      return std::make_unique<UnluckyTask>(settings, args);
    }};

}  // namespace

Trouble& trouble() {
  static Trouble instance;
  return instance;
}

}  // namespace gallop::test
