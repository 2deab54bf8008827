#pragma once

#include <memory>

#include "gallop/models/denoiser.h"
#include "gallop/runs/recipe.h"

namespace gallop {

/// The model of a recipe, not allocated yet. Its sizes are those that [model] states (channels,
/// image, classes); where it does not state all, the data that the recipe names are asked, and it
/// is said. Throws Error where it names none.
std::unique_ptr<models::Denoiser> make_model(runs::Recipe& recipe);

}  // namespace gallop
