#include "gallop/tasks/images/image_generation.h"

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/config/registry.h"
#include "gallop/tasks/images/description.h"
#include "gallop/tasks/images/keyed_noise.h"
#include "gallop/tasks/images/known_data.h"

namespace gallop::tasks {
namespace {

const models::Denoiser& denoiser(const models::Model& model) {
  return dynamic_cast<const models::Denoiser&>(model);
}

/// A recipe that states another resolution than that of the training is taken at its word: what the
/// model has learned fits other sizes, its position table is computed. Whether it does.
bool take_stated_sizes(const ImageGenerationSettings& settings, data::DatasetInfo& info) {
  const auto model = models::make_denoiser(settings.model, {.channels = info.channels,
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

ImageGeneration::Opened ImageGeneration::open(const ImageGenerationSettings& settings,
                                              const Args& args) {
  ImageData::Args data{.config = settings.data, .seed = args.seed};
  bool other_size = false;
  if (args.weights) {
    const formats::Metadata& weights = *args.weights;
    data.train = known_data(weights, settings, args.data_named);
    if (const auto found = weights.find("held_out"); found != weights.end()) {
      data.held_out =
          info_from_json(Json::parse(found->second, "metadata 'held_out' of the weights"));
    }
    other_size = weights.contains("data") && data.train && take_stated_sizes(settings, *data.train);
    data.named = args.data_named || !data.train;
  }
  const bool known = data.train.has_value();
  const auto images = std::make_shared<const ImageData>(std::move(data));
  if (args.weights && !known) {
    log_info("the weights do not say what their data hold: sizes and classes are those of ",
             images->info().path);
  }
  return {images, other_size};
}

namespace {

const config::RegisterKind<Task, ImageGeneration, ImageGenerationSettings> registered{
    "image-generation", "images or latents from noise, with or without class labels",
    "DiT, arXiv 2212.09748; SiT, arXiv 2401.08740"};

}  // namespace

ImageGeneration::ImageGeneration(const ImageGenerationSettings& settings, const Args& args,
                                 Opened opened)
    : Task(args),
      settings_(settings),
      objective_(config::make<diffusion::Objective>(settings.objective, {})),
      other_size_(opened.other_size),
      data_(std::move(opened.data)),
      generator_(settings.sample, objective_, data_, args.seed, args.precision) {}

ImageGeneration::ImageGeneration(const ImageGenerationSettings& settings, const Args& args)
    : ImageGeneration(settings, args, open(settings, args)) {}

Json ImageGeneration::description(Split split) const {
  if (split == Split::train) return to_json(info());
  data::DatasetInfo held_out = data_->held_out_info();
  held_out.class_names.clear();  // those of the training split
  return to_json(held_out);
}

std::string ImageGeneration::data_text() const {
  return std::to_string(info().count) + " samples of " + info().path;
}

std::vector<data::Change> ImageGeneration::changes(Split split, const Json& before) const {
  const data::DatasetInfo was = info_from_json(before);
  return split == Split::train ? data::changes(was, info())
                               : data::held_out_changes(was, data_->held_out_info());
}

bool ImageGeneration::same_data(Split split, const Json& before) const {
  return data::same_content(info_from_json(before),
                            split == Split::train ? info() : data_->held_out_info());
}

std::vector<std::string> ImageGeneration::change_keys() const {
  return {"data.classes", "data.shape", "data.count", "data.content", "data.held_out"};
}

TaskMemory ImageGeneration::memory() const {
  const data::DatasetInfo& data = info();
  const int64_t waiting = settings_.data.queue + settings_.data.workers + 1;
  const SampleSettings& sample = settings_.sample;
  return {.data = static_cast<uint64_t>(data.resident_bytes) +
                  sizeof(float) * static_cast<uint64_t>(waiting * args().batch * data.channels *
                                                        data.height * data.width),
          .evaluated = std::min(settings_.eval.batch, settings_.eval.samples),
          // With guidance each sample goes through the network twice.
          .generated =
              (sample.guidance == 1 ? 1 : 2) *
              std::min(sample.batch, sample.per_class * std::clamp<int64_t>(data.classes, 1, 10))};
}

std::unique_ptr<models::Model> ImageGeneration::make_model() const {
  const data::DatasetInfo& data = info();
  auto model = models::make_denoiser(
      settings_.model,
      {.channels = data.channels,
       .height = data.height,
       .width = data.width,
       .classes = data.classes,
       .predicts_sigma = objective_->output_channels(data.channels) != data.channels});
  const models::Denoiser::Args& sizes = model->args();
  require(
      sizes.channels == data.channels && sizes.height == data.height && sizes.width == data.width,
      "the model takes ", sizes.channels, "x", sizes.height, "x", sizes.width, " and the data are ",
      data.channels, "x", data.height, "x", data.width,
      ": leave task.model.channels and task.model.image out, or change the size of the data");
  require(sizes.classes == 0 || (data.classes > 0 && sizes.classes >= data.classes),
          "the model knows ", sizes.classes, " classes and the data have ", data.classes,
          ": leave task.model.classes out, or set it to 0 to ignore labels");
  const int64_t wanted = objective_->output_channels(data.channels);
  require(model->output_channels() == wanted, "the model puts out ", model->output_channels(),
          " channels and the objective ", objective_->kind(), " needs ", wanted,
          ": leave task.model.learn_sigma at \"auto\"");
  const auto parameters = model->parameters();
  if (other_size_ && std::any_of(parameters.begin(), parameters.end(),
                                 [](const auto* p) { return p->attributes().buffer; })) {
    log_info("thresholds of the routers stay those of the training's resolution");
  }
  return model;
}

std::unique_ptr<Stream> ImageGeneration::stream(Split split) const {
  return split == Split::train ? training_stream(data_)
                               : held_out_stream(data_, settings_.eval.samples);
}

ImageGeneration::Inputs ImageGeneration::corrupt(const models::Denoiser& model,
                                                 const at::Tensor& clean_BCHW,
                                                 const at::Tensor& label_B, const at::Tensor& t_B,
                                                 const NoiseKey& noise, int64_t first) const {
  const at::Device device = (*model.parameters().at(0))->device();
  const at::Tensor noise_BCHW =
      keyed_noise(noise, first, clean_BCHW.size(0), clean_BCHW.sizes().slice(1));
  Inputs inputs{objective_->corrupt(clean_BCHW.to(device), t_B, noise_BCHW.to(device)), {}};
  if (model.args().classes > 0) inputs.label_B = label_B.to(device);
  return inputs;
}

ImageGeneration::Inputs ImageGeneration::draw(const models::Denoiser& model, const Batch& batch,
                                              const std::string& purpose) const {
  const auto uniform_at = [&](const std::string& what, int64_t i) {
    return uniform({.seed = args().seed,
                    .purpose = purpose + what,
                    .sample = static_cast<uint64_t>(batch.first + i)});
  };
  const at::Tensor t_B =
      objective_->draw_time(batch.size(), [&](int64_t i) { return uniform_at(".time", i); });
  at::Tensor label_B;
  if (model.args().classes > 0) {
    label_B = batch.at("labels");
    if (model.has_null_label()) {
      label_B = label_B.clone();
      auto* label = label_B.mutable_data_ptr<int64_t>();
      for (int64_t i = 0; i < batch.size(); ++i)
        if (uniform_at(".label", i) < model.label_dropout()) label[i] = model.args().classes;
    }
  }
  return corrupt(model, batch.at("images"), label_B, t_B,
                 {.seed = args().seed, .purpose = purpose + ".noise"}, batch.first);
}

ImageGeneration::Inputs ImageGeneration::spread(const models::Denoiser& model,
                                                const Batch& batch) const {
  const at::Tensor t_N = objective_->spread_time(batch.of);
  return corrupt(model, batch.at("images"),
                 model.args().classes > 0 ? batch.at("labels") : at::Tensor(),
                 t_N.narrow(0, batch.first, batch.size()),
                 {.seed = args().seed, .purpose = "held-out.noise"}, batch.first);
}

Outcome ImageGeneration::run(const models::Model& any, const Batch& batch, const Pass&,
                             const Forward& forward) const {
  const models::Denoiser& model = denoiser(any);
  const ops::PrecisionGuard precision(args().precision);
  const std::string purpose = forward.purpose == Purpose::train ? "train" : "route";
  const std::string routing_noise = purpose + ".routing";
  const Inputs inputs =
      forward.purpose == Purpose::evaluate ? spread(model, batch) : draw(model, batch, purpose);
  const sparse::RowThresholds thresholds{{forward.thresholds}, {}};
  nn::ForwardContext ctx{.training = forward.training,
                         .micro_batches = forward.micro_batches,
                         .timestep_B = inputs.noised.model_time_B,
                         .label_B = inputs.label_B};
  if (forward.purpose != Purpose::evaluate) {
    ctx.noise = {.seed = args().seed,
                 .purpose = routing_noise,
                 .sample = static_cast<uint64_t>(batch.first)};
  }
  if (forward.purpose != Purpose::train) ctx.thresholds = &thresholds;
  Outcome outcome;
  ctx.routing = &outcome.routing;
  const at::Tensor output = model.forward(inputs.noised.x_BCHW, ctx);
  const diffusion::Losses losses = objective_->loss(output, inputs.noised);
  outcome.time_B = inputs.noised.model_time_B;
  outcome.of_samples_B.emplace_back("main", losses.main_B.detach());
  for (const auto& [name, value_B] : losses.parts) {
    outcome.of_samples_B.emplace_back(name, value_B.detach());
  }
  if (forward.purpose != Purpose::train) return outcome;

  outcome.losses.push_back({.name = "main", .value = losses.main_B.mean()});
  for (const auto& [name, value_B] : losses.parts)
    outcome.parts.emplace_back(name, value_B.detach().mean());
  if (!outcome.routing.empty())
    add_routing_losses(outcome, forward, model.to_tokens(inputs.noised.target_BCHW));
  return outcome;
}

}  // namespace gallop::tasks
