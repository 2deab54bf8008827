#pragma once

#include "gallop/config/schema.h"

namespace gallop::sparse {

/// How many experts a token has over a training (SMoE-Dropout, arXiv 2303.01610).
struct GrowingSettings : config::Fields<GrowingSettings> {
  int64_t from = 1, steps = 1000;
  void fields(config::Visitor& v) override {
    v.field("from", from, "active experts at the first step", config::at_least(1));
    v.field("steps", steps, "steps until all of mlp.active are in use", config::at_least(1));
  }
  /// from + (to - from) step/steps, rounded half to even, and no further than `to`.
  int64_t active_at(int64_t step, int64_t to) const;
};

}  // namespace gallop::sparse
