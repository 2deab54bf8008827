#include "gallop/sparse/choice/step_counter.h"

#include <ATen/core/grad_mode.h>

namespace gallop::sparse {

// float32 counts exactly up to 2^24 steps.
StepCounter::StepCounter(nn::Module& owner)
    : step_(owner, "step", {}, nn::Init::zeros(), {.decay = false, .buffer = true}) {}

int64_t StepCounter::steps() const { return step_->to(at::kLong).item<int64_t>(); }

PendingUpdate StepCounter::update() const {
  return {[step = *step_](const AppliedStep& applied) {
    const at::NoGradGuard no_grad;
    step.fill_(applied.before + 1);
  }};
}

}  // namespace gallop::sparse
