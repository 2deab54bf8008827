#pragma once

#include <string>

#include "gallop/formats/safetensors.h"
#include "gallop/nn/module.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/run_state.h"

/// What the weights files of a checkpoint say of themselves.
namespace gallop::runs {

/// The data that the weights have seen, each a description of the task (tasks::Task) as text.
struct DataMetadata {
  std::string data;
  std::string held_out;  ///< empty: never evaluated
};

/// Of model.safetensors: role, run, step, data, how thresholds were made.
formats::Metadata model_metadata(const Recipe& recipe, const RunState& state,
                                 const DataMetadata& data, const nn::Module& model);
/// Of ema.safetensors, by that of the model.
formats::Metadata ema_metadata(formats::Metadata of_model, const Recipe& recipe,
                               const RunState& state);

}  // namespace gallop::runs
