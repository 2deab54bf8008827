#pragma once

#include <string>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/models/model.h"
#include "gallop/runs/recipe.h"

namespace gallop::runs {

/// Starts a materialised model from other weights (fine-tuning): a run, a checkpoint (its EMA
/// weights) or a safetensors file. Names are fitted (models::fit_names). Tensors of the same name
/// and shape are copied; what is new (in the model only), missing (in the file only) or reshaped is
/// listed and must be allowed by `config.allow`, else Error with the list, the nearest names and
/// the setting that would allow it; it then keeps its fresh value. No tensor at all in common is an
/// Error whatever is allowed. Position tables of other sizes are computed anew.
///
/// Rows of the class table are matched by index or by class name (`class_names` of the data against
/// those of the file: its metadata "class_names", a JSON array, or "data" as training writes it),
/// the null label's row to the null label's; rows without a partner keep their fresh value. In a
/// file that does not say how many classes it knows, as many rows as the model has classes are
/// without a null label, one more with it, and for other numbers `config.null_row` must say.
///
/// Returns lines that say what was done.
std::vector<std::string> start_from(models::Model& model, const InitConfig& config,
                                    const std::vector<std::string>& class_names);
/// The same with the names that a task's description of its data has ("class_names"); a description
/// without them has none.
std::vector<std::string> start_from(models::Model& model, const InitConfig& config,
                                    const Json& data);

}  // namespace gallop::runs
