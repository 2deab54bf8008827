#include "tests/support/unlucky_task.h"

#include <memory>

#include "gallop/config/registry.h"
#include "gallop/tasks/images/image_generation.h"

namespace gallop::test {
namespace {

class UnluckyMeter : public tasks::Meter {
 public:
  void add(const tasks::Batch&, const tasks::Outcome&) override {
    if (trouble().during_evaluation) trouble().during_evaluation();
  }
  void merge(const collectives::World&) override {}
  tasks::Reading read() const override {
    return trouble().read ? trouble().read() : tasks::Reading();
  }
};

class UnluckyTask : public tasks::ImageGeneration {
 public:
  using ImageGeneration::ImageGeneration;

  tasks::Outcome run(const models::Model& model, const tasks::Batch& batch, const tasks::Pass& pass,
                     const tasks::Forward& forward) const override {
    const bool calibrates = forward.purpose == tasks::Purpose::calibrate;
    if (calibrates && trouble().before_calibration) trouble().before_calibration();
    tasks::Outcome out = ImageGeneration::run(model, batch, pass, forward);
    if (forward.purpose == tasks::Purpose::train && trouble().after_train)
      trouble().after_train(out);
    return out;
  }
  std::vector<std::unique_ptr<tasks::Meter>> meters(const models::Model& model) const override {
    auto meters = ImageGeneration::meters(model);
    meters.push_back(std::make_unique<UnluckyMeter>());
    return meters;
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
