#pragma once

#include <algorithm>
#include <cstdint>

#include "gallop/config/schema.h"

namespace gallop::training {

/// Linear warm-up: (step + 1) / warmup for steps below `warmup` (the first step moves already, the
/// last one of the warm-up has the full rate), then 1. Goyal et al., arXiv 1706.02677.
inline double warmup_factor(int64_t step, int64_t warmup) {
  return step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup) : 1.0;
}

/// Share of the steps after the warm-up that lies before this one: 0 for the first of them, 1 at
/// `total_steps` and beyond.
inline double progress_after_warmup(int64_t step, int64_t warmup, int64_t total_steps) {
  if (step >= total_steps) return 1.0;
  return std::max(0.0, static_cast<double>(step - warmup) /
                           static_cast<double>(std::max<int64_t>(1, total_steps - warmup)));
}

/// Settings of the schedules that fall after the warm-up.
struct DecaySettings : config::Fields<DecaySettings> {
  int64_t warmup = 0;
  double final = 0;
  void fields(config::Visitor& v) override {
    v.field("warmup", warmup, "steps of linear warm-up", config::at_least(0));
    v.field("final", final, "factor that is reached at the end of the run", config::between(0, 1));
  }
};

}  // namespace gallop::training
