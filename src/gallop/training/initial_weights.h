#pragma once

#include <string>
#include <vector>

#include "gallop/models/model.h"
#include "gallop/training/recipe.h"

namespace gallop::training {

/// Starts a materialised model from other weights (fine-tuning): a run, a checkpoint (its EMA
/// weights) or a safetensors file. Tensors of the same name and shape are copied; what is new (in
/// the model only), missing (in the file only) or reshaped is listed and must be allowed by
/// `config.allow`, else Error with the list and the setting that would allow it; it then keeps its
/// fresh value.
///
/// Rows of the class table are matched by index or by class name (`class_names` of the data against
/// those of the file: its metadata "class_names", a JSON array, or "data" as training writes it),
/// the null label's row to the null label's; rows without a partner keep their fresh value. A file
/// that does not say how many classes it knows has a null label if the model has one.
///
/// Returns lines that say what was done.
std::vector<std::string> start_from(models::Model& model, const InitConfig& config,
                                    const std::vector<std::string>& class_names);

}  // namespace gallop::training
