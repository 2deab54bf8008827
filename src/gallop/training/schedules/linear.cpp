#include "gallop/config/registry.h"
#include "gallop/training/schedule.h"
#include "gallop/training/schedules/warmup.h"

namespace gallop::training {
namespace {

class LinearSchedule : public Schedule {
 public:
  LinearSchedule(const DecaySettings& settings, const Args& args)
      : settings_(settings), total_steps_(args.total_steps) {}

  double factor(int64_t step) const override {
    if (step < settings_.warmup) return warmup_factor(step, settings_.warmup);
    const double progress = progress_after_warmup(step, settings_.warmup, total_steps_);
    return 1 + (settings_.final - 1) * progress;
  }

 private:
  DecaySettings settings_;
  int64_t total_steps_;
};

const config::RegisterKind<Schedule, LinearSchedule, DecaySettings> registered{
    "linear", "linear warm-up, then a line from 1 to `final`", "Devlin et al., arXiv 1810.04805"};

}  // namespace
}  // namespace gallop::training
