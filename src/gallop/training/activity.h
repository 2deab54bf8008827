#pragma once

#include <memory>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/training/run.h"
#include "gallop/training/step.h"

namespace gallop::training {

/// Something that a run does beside its steps: it logs, evaluates, draws, calibrates. The trainer
/// calls all of them in their order and knows none.
class Activity {
 public:
  Activity() = default;
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;
  virtual ~Activity() = default;
  /// Under which its state is kept.
  virtual const char* name() const = 0;
  /// Before the first step of a session.
  virtual void begin(Run&) {}
  /// After each step, applied or not.
  virtual void after_step(Run&, const StepReport&) {}
  /// After a step, and before the first one of a session: does what is due at this step and not
  /// done yet. May throw Interrupted, and is asked again then when the run goes on.
  virtual void between_steps(Run&) {}
  /// After the last step, when a checkpoint of it is there. May throw Interrupted.
  virtual void at_end(Run&) {}
  /// Whether nothing of the end is left to do.
  virtual bool complete(const Run&) const { return true; }
  /// The average holds other values since what was done at this step.
  virtual void average_changed() {}
  /// What a resumed run needs to do the same; an object.
  virtual Json state() const { return Json::object(); }
  virtual void restore(const Json&) {}
};

/// Adds an activity to every run, from the source file that holds it. Those of a lower order are
/// called first; what comes at the end after calibration (30) sees exact thresholds.
class RegisterActivity {
 public:
  using Make = std::unique_ptr<Activity> (*)();
  RegisterActivity(int order, Make make);
};

/// Those of every run, in their order.
std::vector<std::unique_ptr<Activity>> make_activities();

}  // namespace gallop::training
