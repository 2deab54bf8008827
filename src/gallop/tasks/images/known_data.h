#pragma once

#include <optional>

#include "gallop/data/dataset.h"
#include "gallop/formats/safetensors.h"
#include "gallop/tasks/images/settings.h"

namespace gallop::tasks {

/// What the data of a model hold, without opening them: as the metadata of its weights say (`data`,
/// which training writes), else channels, image and classes of the recipe's model, with names of
/// classes from the metadata (`class_names`, a JSON list) or from the recipe's data. Such sizes
/// have no `kind`: they are those of the model, and its data may have fewer classes.
///
/// Empty where neither states them and the recipe names data that can be asked (`data_named`).
/// Throws Error, with what is missing, where it names none: no data set stands in for another.
std::optional<data::DatasetInfo> known_data(const formats::Metadata& metadata,
                                            const ImageGenerationSettings& settings,
                                            bool data_named);

}  // namespace gallop::tasks
