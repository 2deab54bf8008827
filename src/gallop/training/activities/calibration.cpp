#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/compute/calibrate.h"
#include "gallop/training/activity.h"

namespace gallop::training {
namespace {

// At the end, brings the thresholds of the average, which training only estimates, to their exact
// values; what comes after it sees those.
class Calibration : public Activity {
 public:
  const char* name() const override { return "calibrate"; }

  void after_step(Run& run, const StepReport& report) override {
    if (report.applied) run.state.exact_thresholds = false;
  }

  void at_end(Run& run) override {
    if (run.state.exact_thresholds) return;
    bool calibrated = false;
    run.settle_average();
    try {
      calibrated =
          !compute::calibrate(run.task, run.average, compute::calibration_batches, [](int64_t) {
             leave_if_asked();
           }).empty();
    } catch (const Error& error) {  // a damaged sample, say: no reason to lose the end of a run
      log_warning("the thresholds of the EMA weights stay as training left them: ", error.what(),
                  "; `gallop calibrate` sets them exactly");
    }
    run.state.exact_thresholds = run.average_changed = true;
    if (calibrated) {
      log_info("thresholds of the EMA weights set exactly on ", compute::calibration_batches,
               " batches of training data");
    }
  }

  bool complete(const Run& run) const override { return run.state.exact_thresholds; }
};

const RegisterActivity registered{
    30, []() -> std::unique_ptr<Activity> { return std::make_unique<Calibration>(); }};

}  // namespace
}  // namespace gallop::training
