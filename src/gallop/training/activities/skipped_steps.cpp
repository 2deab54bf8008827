#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/training/activity.h"
#include "gallop/training/non_finite.h"

namespace gallop::training {
namespace {

// Warns of a step that was not applied, with the cause, and ends the run after train.max_skipped of
// them in a row.
class SkippedSteps : public Activity {
 public:
  const char* name() const override { return "skipped"; }

  void after_step(Run& run, const StepReport& report) override {
    if (report.applied) return;
    const runs::RunState& state = run.state;
    std::string cause = report.spike;
    if (cause.empty()) {
      const NonFiniteStep step{state.step, report.values, report.samples, report.gradient,
                               report.overflown};
      cause = step.text();
      if (run.recipe.train.dump_nonfinite) {
        run.or_warn("dump of the step",
                    [&] { step.dump(run.model, run.directory.path() / "nonfinite"); });
      }
    }
    std::string samples;
    for (const int64_t sample : report.samples) samples += " " + std::to_string(sample);
    log_warning("step ", state.step, " was not applied: ", cause,
                "; samples of the batch:", samples);
    run.record("skipped", {{"skipped", static_cast<double>(state.skipped)},
                           {"skipped_in_row", static_cast<double>(state.skipped_in_row)},
                           {"skipped_spikes", static_cast<double>(state.skipped_spikes)}});
    require(state.skipped_in_row < run.recipe.train.max_skipped, "stopped at step ", state.step,
            ": ", state.skipped_in_row,
            " steps in a row were not applied (train.max_skipped), the last because ", cause,
            ". The weights are those of the last applied step; a lower learning rate or clipping "
            "may help. Where no step works from the newest checkpoint either, remove that one to "
            "go on from the one before.");
  }
};

const RegisterActivity registered{
    10, []() -> std::unique_ptr<Activity> { return std::make_unique<SkippedSteps>(); }};

}  // namespace
}  // namespace gallop::training
