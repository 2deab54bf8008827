#pragma once

#include "gallop/base/json.h"
#include "gallop/data/dataset.h"

namespace gallop::tasks {

/// What a split of images holds, as weights files keep it in their metadata: not where it lies.
Json to_json(const data::DatasetInfo& info);
/// Throws Error that says what is missing. Weights from before it was kept have no content.
data::DatasetInfo info_from_json(const Json& json);

}  // namespace gallop::tasks
