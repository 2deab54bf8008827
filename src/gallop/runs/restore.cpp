#include "gallop/runs/restore.h"

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/json.h"
#include "gallop/base/log.h"
#include "gallop/config/parse.h"
#include "gallop/config/registry.h"
#include "gallop/formats/shards.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/device.h"
#include "gallop/runs/known_data.h"
#include "gallop/runs/young_average.h"

namespace gallop::runs {

std::unique_ptr<tasks::Task> make_task(const Recipe& recipe,
                                       const std::optional<data::DatasetInfo>& info,
                                       const std::optional<data::DatasetInfo>& held_out) {
  return config::make<tasks::Task>(recipe.task, {.data = recipe.data,
                                                 .model = recipe.model,
                                                 .batch = recipe.train.batch,
                                                 .accumulate = recipe.train.accumulate,
                                                 .seed = static_cast<uint64_t>(recipe.seed),
                                                 .eval_samples = recipe.eval.samples,
                                                 .eval_batch = recipe.eval.batch,
                                                 .precision = precision_of(recipe),
                                                 .info = info,
                                                 .held_out = held_out,
                                                 .data_named = recipe.names_data || !info});
}

namespace {

/// A recipe that states another resolution than that of the training (--set model.image=64) is
/// taken at its word: what the model has learned fits other sizes, its position table is computed.
/// Whether it does.
bool take_stated_sizes(const Recipe& recipe, data::DatasetInfo& info) {
  const auto model = models::make_denoiser(recipe.model, {.channels = info.channels,
                                                          .height = info.height,
                                                          .width = info.width,
                                                          .classes = info.classes});
  const models::Denoiser::Args& stated = model->args();
  if (stated.height == info.height && stated.width == info.width) return false;
  log_info("the recipe states ", stated.height, "x", stated.width, " where the training had ",
           info.height, "x", info.width, ": the model takes the size of the recipe");
  info.height = stated.height;
  info.width = stated.width;
  return true;
}

}  // namespace

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
  restored.recipe.names_data = config::is_stated(
      config::load_text(restored.recipe, recipe, "recipe of " + run_or_weights.string(), overrides),
      "data.source");

  restored.metadata = reader->metadata();
  const auto share = first_values_share(restored.metadata, restored.recipe.ema);
  if (const std::string young = young_average(share.value_or(0)); !young.empty()) {
    log_warning(restored.weights.string(), ": ", young);
  }
  auto info = known_data(restored.metadata, restored.recipe);
  std::optional<data::DatasetInfo> held_out;
  if (const auto found = restored.metadata.find("held_out"); found != restored.metadata.end()) {
    held_out = info_from_metadata(found->second);
  }
  const bool other_size = restored.metadata.contains("data") && info.has_value() &&
                          take_stated_sizes(restored.recipe, *info);
  restored.task = make_task(restored.recipe, info, held_out);
  restored.model = restored.task->make_model();
  if (!info) {
    log_info(restored.weights.string(), " does not say what its data hold: sizes and classes are ",
             "those of ", restored.task->data_info().path);
  } else if (info->kind.empty() && info->latent && !restored.recipe.names_data) {
    log_info("samples of ", info->channels,
             " channels are taken for latents: they are not clamped to [-1, 1]");
  }
  const auto parameters = restored.model->parameters();
  if (other_size && std::any_of(parameters.begin(), parameters.end(),
                                [](const auto* p) { return p->attributes().buffer; })) {
    log_info("thresholds of the routers stay those of the training's resolution");
  }
  restored.model->materialize(static_cast<uint64_t>(restored.recipe.seed),
                              placement_of(restored.recipe), false);
  models::load_weights(*restored.model, nn::map_tensors(reader), restored.weights.string());
  return restored;
}

std::string to_metadata(const data::DatasetInfo& info) {
  Json names = Json::array();
  for (const std::string& name : info.class_names) names.push_back(name);
  Json json = Json::object();
  json["kind"] = info.kind;
  json["count"] = info.count;
  json["channels"] = info.channels;
  json["height"] = info.height;
  json["width"] = info.width;
  json["classes"] = info.classes;
  json["class_names"] = names;
  json["latent"] = info.latent;
  json["detail"] = info.detail;
  json["content"] = info.content;
  return json.dump();
}

data::DatasetInfo info_from_metadata(const std::string& text) {
  const Json json = Json::parse(text, "metadata 'data' of the weights");
  data::DatasetInfo info;
  info.kind = json.at("kind").as_string();
  info.count = json.at("count").as_int();
  info.channels = json.at("channels").as_int();
  info.height = json.at("height").as_int();
  info.width = json.at("width").as_int();
  info.classes = json.at("classes").as_int();
  for (const Json& name : json.at("class_names").as_array()) {
    info.class_names.push_back(name.as_string());
  }
  info.latent = json.at("latent").as_bool();
  info.detail = json.at("detail").as_string();
  // Weights from before it was kept have none.
  if (const Json* content = json.find("content")) info.content = content->as_string();
  return info;
}

}  // namespace gallop::runs
