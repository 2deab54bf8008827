#pragma once

#include <cstdint>
#include <string>

#include "gallop/models/counts.h"
#include "gallop/training/recipe.h"

namespace gallop::training {

/// What a run will cost, from the declarations alone: nothing is allocated.
struct Estimate {
  models::Counts counts;
  double flops_per_step = 0;  ///< forward and backward of all micro-batches
  uint64_t weights = 0;       ///< bytes of weights, EMA, gradients and the optimizer's moments
  uint64_t activations = 0;   ///< bytes that one micro-batch keeps for its backward pass
  uint64_t peak = 0;          ///< bytes, with what the program itself takes
};
Estimate estimate(const models::Model& model, const Recipe& recipe);

/// A few lines for a person: the model, parameters in full and by the rule of Race-DiT's tables,
/// FLOPs of a step, memory.
std::string describe(const models::Model& model, const Estimate& estimate);

/// Throws Error if the estimated peak is above `limit` (a share; 0: no check) of the memory that
/// can be had now; the text says what would help.
void require_memory(const Estimate& estimate, double limit);

}  // namespace gallop::training
