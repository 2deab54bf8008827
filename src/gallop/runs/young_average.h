#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gallop/formats/safetensors.h"
#include "gallop/runs/recipe.h"

namespace gallop::runs {

/// The share of its first values, those the run began with, that the average still holds after so
/// many applied steps.
double first_values_share(const EmaConfig& config, int64_t applied_steps);
/// The same of weights in a file: from its metadata `first_values`, or, where it is from before
/// that was written, from its step and the run's recipe. Nothing for what is no average.
std::optional<double> first_values_share(const formats::Metadata& metadata,
                                         const EmaConfig& config);
/// In the metadata, to be read back to the bit.
std::string share_to_metadata(double share);
/// What there is to say of such an average: empty up to 10 %.
std::string young_average(double share);

}  // namespace gallop::runs
