#pragma once

#include <string>

#include "gallop/data/dataset.h"
#include "gallop/formats/safetensors.h"
#include "gallop/nn/module.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_state.h"

/// What the weights files of a checkpoint say of themselves.
namespace gallop::runs {

/// The data that the weights have seen, each as text of to_metadata (runs/restore.h).
struct DataMetadata {
  std::string data;
  std::string held_out;  ///< empty: never evaluated
};

/// The held-out split as metadata: without the names of classes, which are those of the data.
std::string held_out_metadata(data::DatasetInfo info);

/// Of model.safetensors: role, run, step, data, how thresholds were made.
formats::Metadata model_metadata(const Recipe& recipe, const RunState& state,
                                 const DataMetadata& data, const nn::Module& model);
/// Of ema.safetensors, by that of the model.
formats::Metadata ema_metadata(formats::Metadata of_model, const Recipe& recipe,
                               const RunState& state);

}  // namespace gallop::runs
