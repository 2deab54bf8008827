#pragma once

#include <cstdint>
#include <string>

#include "gallop/runs/recipe.h"

namespace gallop::training {

/// Where a changed recipe makes the learning rate of the step with this number (from 0) another one
/// than the recipe before would have given it, as more steps do with a schedule that falls over the
/// run: from which rate to which it goes, in words. Empty for differences up to 5 % and at step 0.
std::string rate_jump(const runs::Recipe& before, const runs::Recipe& after, int64_t step);

}  // namespace gallop::training
