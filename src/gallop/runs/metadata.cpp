#include "gallop/runs/metadata.h"

#include <utility>

#include "gallop/sparse/choice/selection.h"

namespace gallop::runs {

formats::Metadata model_metadata(const Recipe& recipe, const RunState& state,
                                 const DataMetadata& data, const nn::Module& model) {
  formats::Metadata metadata = {
      {"format", "gallop"},
      {"role", "model"},
      {"run", recipe.name},
      {"step", std::to_string(state.step)},
      {"data", data.data},
      {"threshold", sparse::has_thresholds(model) ? "moving average" : "none"}};
  if (!data.held_out.empty()) metadata["held_out"] = data.held_out;
  return metadata;
}

formats::Metadata ema_metadata(formats::Metadata of_model, const Recipe& recipe,
                               const RunState& state) {
  formats::Metadata metadata = std::move(of_model);
  metadata["role"] = "ema";
  if (state.exact_thresholds && metadata["threshold"] != "none") metadata["threshold"] = "exact";
  metadata["decay"] = std::to_string(recipe.ema.decay);
  return metadata;
}

}  // namespace gallop::runs
