#pragma once

#include "gallop/nn/module.h"
#include "gallop/ops/precision.h"
#include "gallop/runs/recipe.h"

namespace gallop::runs {

/// Where the recipe's model lives and in which type. Throws Error if it asks for a GPU and libtorch
/// sees none.
nn::Placement placement_of(const Recipe& recipe);

/// The precision of the recipe's matrix products. Throws Error if it asks for bf16 and they cannot
/// run: on a GPU, or on a CPU without the instruction.
ops::Precision precision_of(const Recipe& recipe);

/// Sets the threads of our kernels: the recipe's number, or as many as this process may use
/// (ThreadPool::default_threads). libtorch's own operators get one. Returns the number.
int64_t use_threads(const Recipe& recipe);

}  // namespace gallop::runs
