#include "gallop/base/log.h"
#include "gallop/tasks/report.h"
#include "gallop/training/activity.h"

namespace gallop::training {
namespace {

// The held-out loss of the average every eval.every steps and at the end.
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
    const tasks::EvalOutput out =
        run.task.evaluate(run.average, [](int64_t, int64_t) { leave_if_asked(); });
    done_ = run.state.step;
    const tasks::EvalRemarks remarks = tasks::remarks_of(out, run.average);
    if (!remarks.note.empty()) run.note = remarks.note;
    run.record("eval", {remarks.values.begin(), remarks.values.end()});
    log_info("step ", done_, ", held-out (", out.samples, " samples, EMA weights):", remarks.text);
    run.warn_of_young_average();
    if (!remarks.warning.empty()) log_warning("step ", done_, ": ", remarks.warning);
  }

  int64_t done_ = 0;  // the step of the last one
};

const RegisterActivity registered{
    40, []() -> std::unique_ptr<Activity> { return std::make_unique<Evaluation>(); }};

}  // namespace
}  // namespace gallop::training
