#pragma once

#include "gallop/collectives/world.h"

namespace gallop::training {

/// What becomes of a step: one answer for all processes, since a step that some apply and others do
/// not would part them for ever.
struct Decision {
  bool finite = true;  ///< losses and gradients are, on every process
  bool spike = false;  ///< one process saw one
  bool stop = false;   ///< one process was asked to stop

  bool applies() const { return finite && !spike; }
};

/// What all processes decide together from what each has seen. Each of them calls it once a step.
Decision agree(const collectives::World& world, const Decision& own);

}  // namespace gallop::training
