#pragma once

#include <cstdint>
#include <string>

#include "gallop/models/counts.h"
#include "gallop/runs/recipe.h"
#include "gallop/tasks/task.h"

namespace gallop::compute {

/// What a run will cost, from the declarations alone: nothing is allocated. Memory in bytes: the
/// peak is that of a training step or of an evaluation, whichever takes more.
struct Estimate {
  models::Counts counts;
  double flops_per_step = 0;  ///< forward and backward of all micro-batches
  uint64_t weights = 0;       ///< weights, EMA and the optimizer's moments, at all times
  uint64_t gradients = 0;
  uint64_t activations =
      0;                    ///< what a micro-batch needs from its forward through its backward pass
  uint64_t saving = 0;      ///< the copy of the state that background saves write from
  uint64_t evaluation = 0;  ///< held-out loss or sample sheet: packed weights and activations
  uint64_t data = 0;        ///< samples in memory and batches on their way
  uint64_t program = 0;     ///< libtorch, and the heap before a model is there
  uint64_t peak = 0;
};
/// `memory`: what the recipe's task takes.
Estimate estimate(const models::Model& model, const runs::Recipe& recipe,
                  const tasks::TaskMemory& memory);

/// A few lines for a person: the model, parameters in full and by the rule of Race-DiT's tables,
/// FLOPs of a step, memory.
std::string describe(const models::Model& model, const Estimate& estimate);

/// Where the pools of a selection round the experts a token down by more than 5 %: what it keeps
/// instead, for a warning; empty: nowhere.
std::string rounding_of_experts(const models::Model& model);

/// Throws Error if the estimated peak is above `limit` (a share; 0: no check) of the memory that
/// can be had now; the text says what would help.
void require_memory(const Estimate& estimate, double limit);

}  // namespace gallop::compute
