#pragma once

#include <cstdint>
#include <memory>

#include "gallop/config/schema.h"
#include "gallop/models/denoiser.h"

namespace gallop::testing {

/// [model] of a Race-DiT of two narrow blocks, 2 of 4 experts, with both of its losses.
config::Component tiny_race(double label_dropout = 0.1);

/// Allocates the model and gives every parameter a keyed normal value, so that no output is zero,
/// and thresholds the value 0.
void randomize(models::Denoiser& model, uint64_t seed = 1);

}  // namespace gallop::testing
