#include <cmath>
#include <numbers>

#include "gallop/config/registry.h"
#include "gallop/training/schedule.h"
#include "gallop/training/schedules/warmup.h"

namespace gallop::training {
namespace {

class CosineSchedule : public Schedule {
 public:
  CosineSchedule(const DecaySettings& settings, const Args& args)
      : settings_(settings), total_steps_(args.total_steps) {}

  double factor(int64_t step) const override {
    if (step < settings_.warmup) return warmup_factor(step, settings_.warmup);
    const double progress = progress_after_warmup(step, settings_.warmup, total_steps_);
    const double height = 0.5 * (1 + std::cos(std::numbers::pi * progress));
    return settings_.final + (1 - settings_.final) * height;
  }

 private:
  DecaySettings settings_;
  int64_t total_steps_;
};

const config::RegisterKind<Schedule, CosineSchedule, DecaySettings> registered{
    "cosine", "linear warm-up, then half a cosine from 1 to `final`",
    "Loshchilov and Hutter, arXiv 1608.03983"};

}  // namespace
}  // namespace gallop::training
