#include "gallop/runs/restore.h"

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/config/registry.h"
#include "gallop/formats/shards.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/device.h"
#include "gallop/runs/young_average.h"

namespace gallop::runs {

std::unique_ptr<tasks::Task> make_task(const Recipe& recipe,
                                       const std::optional<formats::Metadata>& weights,
                                       const collectives::World& world) {
  return config::make<tasks::Task>(recipe.task, {.seed = static_cast<uint64_t>(recipe.seed),
                                                 .batch = recipe.train.batch,
                                                 .accumulate = recipe.train.accumulate,
                                                 .precision = precision_of(recipe),
                                                 .weights = weights,
                                                 .data_named = recipe.names_data,
                                                 .world = world});
}

std::unique_ptr<models::Model> make_model(const Recipe& recipe) {
  return config::make<tasks::Task>(
             recipe.task, {.weights = formats::Metadata(), .data_named = recipe.names_data})
      ->make_model();
}

Restored restore(const std::filesystem::path& run_or_weights, bool ema,
                 const std::vector<std::string>& overrides) {
  Restored restored;
  restored.weights = find_weights(run_or_weights, ema);
  // First of all, since it says what the file is if it is something else.
  const auto reader = std::make_shared<const formats::WeightsReader>(restored.weights);
  const std::string recipe = find_recipe(run_or_weights);
  require(
      !recipe.empty(), restored.weights.string(),
      ": there is no recipe beside these weights (config.toml of the run); without it the model "
      "is not known");
  restored.recipe = recipe_in(recipe, "recipe of " + run_or_weights.string(), overrides);

  restored.metadata = reader->metadata();
  const auto share = first_values_share(restored.metadata, restored.recipe.ema);
  if (const std::string young = young_average(share.value_or(0)); !young.empty()) {
    log_warning(restored.weights.string(), ": ", young);
  }
  restored.task = make_task(restored.recipe, restored.metadata);
  restored.model = restored.task->make_model();
  restored.model->materialize(static_cast<uint64_t>(restored.recipe.seed),
                              placement_of(restored.recipe), false);
  models::load_weights(*restored.model, nn::map_tensors(reader), restored.weights.string());
  return restored;
}

}  // namespace gallop::runs
