#include "gallop/config/registry.h"
#include "gallop/training/schedule.h"
#include "gallop/training/schedules/warmup.h"

namespace gallop::training {
namespace {

struct ConstantSettings : config::Fields<ConstantSettings> {
  int64_t warmup = 0;
  void fields(config::Visitor& v) override {
    v.field("warmup", warmup, "steps of linear warm-up", config::at_least(0));
  }
};

class ConstantSchedule : public Schedule {
 public:
  explicit ConstantSchedule(int64_t warmup) : warmup_(warmup) {}
  double factor(int64_t step) const override { return warmup_factor(step, warmup_); }

 private:
  int64_t warmup_;
};

const config::Register<Schedule, ConstantSettings> registered{
    "constant", "linear warm-up, then 1", "Goyal et al., arXiv 1706.02677",
    [](const ConstantSettings& settings, const Schedule::Args&) {
      return std::make_unique<ConstantSchedule>(settings.warmup);
    }};

}  // namespace
}  // namespace gallop::training
