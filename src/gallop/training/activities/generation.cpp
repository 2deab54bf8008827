#include "gallop/tasks/generator.h"
#include "gallop/training/activity.h"

namespace gallop::training {
namespace {

// What the average generates every sample.every steps and at the end, for people to look at.
class Generation : public Activity {
 public:
  const char* name() const override { return "generate"; }

  void between_steps(Run& run) override {
    if (generates(run) && run.due(run.recipe.sample.every) && done_ != run.state.step) {
      generate(run);
    }
  }
  void at_end(Run& run) override {
    if (!complete(run)) generate(run);
  }
  bool complete(const Run& run) const override {
    return !generates(run) || done_ == run.state.step;
  }
  void average_changed() override { done_ = 0; }

  Json state() const override {
    Json json = Json::object();
    json["step"] = done_;
    return json;
  }
  void restore(const Json& json) override { done_ = json.at("step").as_int(); }

 private:
  static bool generates(const Run& run) {
    return run.recipe.sample.every > 0 && run.task.generator() != nullptr;
  }
  void generate(Run& run) {
    run.settle_average();
    run.or_warn("sample sheet", [&] {
      const tasks::Generator& generator = *run.task.generator();
      const tasks::Plan plan = generator.sheet(run.average);
      const auto made =
          tasks::generate(generator, run.average, plan, [](int64_t, int64_t) { leave_if_asked(); });
      run.keep(generator.show(plan, made));
    });
    done_ = run.state.step;
    run.warn_of_young_average();
  }

  int64_t done_ = 0;  // the step of the last one
};

const RegisterActivity registered{
    50, []() -> std::unique_ptr<Activity> { return std::make_unique<Generation>(); }};

}  // namespace
}  // namespace gallop::training
