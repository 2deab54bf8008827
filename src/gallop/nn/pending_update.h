#pragma once

#include <cstdint>
#include <functional>

namespace gallop::nn {

/// The step that an update belongs to.
struct AppliedStep {
  AppliedStep(int64_t before, bool last = true) : before(before), last(last) {}
  int64_t before;  ///< steps that were applied before it
  bool last;       ///< whether the update comes from the last micro-batch of the step
};

/// A change of a buffer that a training forward wants. The trainer commits it after an applied
/// step, in micro-batch order, and drops it with a skipped one; the forward itself changes nothing.
struct PendingUpdate {
  std::function<void(const AppliedStep& step)> commit;
};

}  // namespace gallop::nn
