#include "gallop/training/run.h"

#include "gallop/base/log.h"
#include "gallop/base/stop.h"
#include "gallop/runs/background_save.h"
#include "gallop/runs/young_average.h"

namespace gallop::training {

void leave_if_asked() {
  if (stop_requested()) throw Interrupted{};
}

bool Run::due(int64_t every) const {
  return every > 0 && state.step > 0 && state.step % every == 0 && state.step < recipe.train.steps;
}

void Run::record(const std::string& kind,
                 const std::vector<std::pair<std::string, double>>& values) {
  or_warn("log line", [&] { log.write(state.step, kind, values); });
}

void Run::keep(const formats::Artifact& artifact) {
  directory.write(state.step, artifact);
  log.artifact(state.step, artifact);
}

void Run::or_warn(const std::string& what, int64_t step, const std::function<void()>& write) const {
  try {
    write();
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception& error) {  // of the disk, or of memory
    if (recipe.checkpoint.on_error == "stop") throw;
    log_warning("no ", what, " of step ", step, ": ", runs::reason_of(error),
                "; training goes on (checkpoint.on_error)");
  }
}

void Run::warn_of_young_average() {
  const std::string young = runs::young_average(first_values);
  if (!young.empty() && std::exchange(warned, state.step) != state.step) {
    log_warning("step ", state.step, ": ", young);
  }
}

}  // namespace gallop::training
