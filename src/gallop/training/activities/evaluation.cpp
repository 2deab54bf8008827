#include "gallop/base/log.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/training/activity.h"

namespace gallop::training {
namespace {

// What the task measures of the average on held-out data every eval.every steps and at the end.
class Evaluation : public Activity {
 public:
  const char* name() const override { return "evaluate"; }

  void between_steps(Run& run) override {
    if (run.due(run.recipe.eval.every) && done_ != run.state.step) evaluate(run);
  }
  void at_end(Run& run) override {
    if (!complete(run)) evaluate(run);
  }
  bool complete(const Run& run) const override {
    return run.recipe.eval.every == 0 || done_ == run.state.step;
  }
  void average_changed() override { done_ = 0; }

  Json state() const override {
    Json json = Json::object();
    json["step"] = done_;
    return json;
  }
  void restore(const Json& json) override { done_ = json.at("step").as_int(); }

 private:
  void evaluate(Run& run) {
    run.settle_average();
    const tasks::Evaluation found = tasks::evaluate(
        run.task, run.average, {.progress = [](int64_t, int64_t) { leave_if_asked(); }});
    done_ = run.state.step;
    if (!found.note.empty()) run.note = found.note;
    run.record("eval", {found.values.begin(), found.values.end()});
    log_info("step ", done_, ", held-out (", found.of.samples,
             " samples, EMA weights): ", found.text);
    for (const formats::Artifact& artifact : found.artifacts)
      run.or_warn(artifact.name, [&] { run.keep(artifact); });
    run.warn_of_young_average();
    if (!found.warning.empty()) log_warning("step ", done_, ": ", found.warning);
  }

  int64_t done_ = 0;  // the step of the last one
};

const RegisterActivity registered{
    40, []() -> std::unique_ptr<Activity> { return std::make_unique<Evaluation>(); }};

}  // namespace
}  // namespace gallop::training
