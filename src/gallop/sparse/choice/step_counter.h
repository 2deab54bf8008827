#pragma once

#include "gallop/nn/module.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::sparse {

/// The applied training steps of a layer whose routing changes with them: a buffer `step`, so that
/// a checkpoint and inference know it too.
class StepCounter {
 public:
  explicit StepCounter(nn::Module& owner);
  int64_t steps() const;
  /// What a training forward wants remembered: that one more step was applied.
  PendingUpdate update() const;

 private:
  nn::Parameter step_;
};

}  // namespace gallop::sparse
