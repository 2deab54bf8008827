#include "gallop/tasks/image_generation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/base/random.h"
#include "gallop/config/registry.h"
#include "gallop/data/identity.h"
#include "gallop/data/summary.h"
#include "gallop/models/packed_forward.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/tasks/draw_samples.h"
#include "gallop/tasks/keyed_noise.h"

namespace gallop::tasks {
namespace {

at::Tensor images_of(const std::vector<float>& images, int64_t count,
                     const data::DatasetInfo& info) {
  at::Tensor x_BCHW =
      at::empty({count, info.channels, info.height, info.width}, at::TensorOptions(at::kFloat));
  require(x_BCHW.numel() == static_cast<int64_t>(images.size()), "a batch of ", count,
          " images holds ", images.size(), " numbers instead of ", x_BCHW.numel());
  std::copy(images.begin(), images.end(), x_BCHW.mutable_data_ptr<float>());
  return x_BCHW;
}

at::Tensor labels_of(const std::vector<int64_t>& labels) {
  at::Tensor y_B = at::empty({static_cast<int64_t>(labels.size())}, at::TensorOptions(at::kLong));
  std::copy(labels.begin(), labels.end(), y_B.mutable_data_ptr<int64_t>());
  return y_B;
}

at::Device device_of(const models::Denoiser& model) {
  return (*model.parameters().at(0))->device();
}

const config::Register<Task, ImageGenerationSettings> registered{
    "image-generation", "images or latents from noise, with or without class labels",
    "DiT, arXiv 2212.09748; SiT, arXiv 2401.08740",
    [](const ImageGenerationSettings& settings, const Task::Args& args) {
      return std::make_unique<ImageGeneration>(settings, args);
    }};

}  // namespace

void ImageGenerationSettings::fields(config::Visitor& v) {
  v.component("objective", objective, "how images are noised and what the network learns of it");
}

ImageGeneration::ImageGeneration(const ImageGenerationSettings& settings, const Args& args)
    : args_(args),
      process_(config::make<diffusion::Process>(settings.objective, {})),
      info_(args.info) {}

std::shared_ptr<const data::Dataset> ImageGeneration::open(const std::string& split) const {
  require(args_.data_named,
          "this needs the data, and the recipe names none: give --set data.source.kind=... and "
          "--set data.source.path=...");
  data::Dataset::Args args{.split = split};
  if (info_) {
    args.channels = info_->channels;
    args.height = info_->height;
    args.width = info_->width;
  }
  std::shared_ptr<const data::Dataset> dataset = data::open_dataset(args_.data, args);
  const data::DatasetInfo& found = dataset->info();
  // Sizes without a kind of data are the model's own.
  const bool fits =
      !info_ || found.classes == info_->classes ||
      (info_->kind.empty() &&
       (info_->classes == 0 || (found.classes > 0 && found.classes < info_->classes)));
  require(fits, found.path, ": the ", split, " split has ", found.classes,
          " classes, expected are ", info_ ? info_->classes : 0);
  for (const std::string& notice : data::notices(*dataset, split)) log_warning("data: ", notice);
  const bool training = split == "train";
  if (const auto& seen = training ? args_.info : args_.held_out; seen && !seen->kind.empty()) {
    for (const data::Change& change :
         training ? data::changes(*seen, found) : data::held_out_changes(*seen, found)) {
      log_warning(found.path, ": these are not the data that the weights have seen: ", change.text);
    }
  }
  return dataset;
}

const std::shared_ptr<const data::Dataset>& ImageGeneration::training_data() const {
  if (!training_data_) training_data_ = open("train");
  return training_data_;
}

const data::DatasetInfo& ImageGeneration::data_info() const {
  if (!info_) info_ = training_data()->info();
  return *info_;
}

const std::shared_ptr<const data::Dataset>& ImageGeneration::held_out_data() {
  if (!held_out_) held_out_ = open("test");
  return held_out_;
}

const data::DatasetInfo& ImageGeneration::held_out_info() { return held_out_data()->info(); }

std::unique_ptr<models::Denoiser> ImageGeneration::make_model() const {
  const data::DatasetInfo& info = data_info();
  auto model = models::make_denoiser(
      args_.model, {.channels = info.channels,
                    .height = info.height,
                    .width = info.width,
                    .classes = info.classes,
                    .predicts_sigma = process_->output_channels(info.channels) != info.channels});
  const models::Denoiser::Args& sizes = model->args();
  require(
      sizes.channels == info.channels && sizes.height == info.height && sizes.width == info.width,
      "the model takes ", sizes.channels, "x", sizes.height, "x", sizes.width, " and the data are ",
      info.channels, "x", info.height, "x", info.width,
      ": leave model.channels and model.image out, or change the size of the data");
  require(sizes.classes == 0 || (info.classes > 0 && sizes.classes >= info.classes),
          "the model knows ", sizes.classes, " classes and the data have ", info.classes,
          ": leave model.classes out, or set it to 0 to ignore labels");
  const int64_t wanted = process_->output_channels(info.channels);
  require(model->output_channels() == wanted, "the model puts out ", model->output_channels(),
          " channels and the objective ", process_->kind(), " needs ", wanted,
          ": leave model.learn_sigma at \"auto\"");
  return model;
}

void ImageGeneration::start(int64_t micro_batch, int64_t position) {
  loader_ = std::make_unique<data::Loader>(training_data(), args_.data, args_.batch, args_.seed,
                                           position);
  next_ = micro_batch;
}

ImageGeneration::Inputs ImageGeneration::corrupt(const models::Denoiser& model,
                                                 const data::Batch& batch, const at::Tensor& t_B,
                                                 const NoiseKey& noise, int64_t first) const {
  const at::Device device = device_of(model);
  const auto count = static_cast<int64_t>(batch.indices.size());
  const at::Tensor clean_BCHW = images_of(batch.images, count, data_info());
  const at::Tensor noise_BCHW = keyed_noise(noise, first, count, clean_BCHW.sizes().slice(1));
  Inputs inputs{process_->corrupt(clean_BCHW.to(device), t_B, noise_BCHW.to(device)), {}};
  if (model.args().classes > 0) inputs.label_B = labels_of(batch.labels).to(device);
  return inputs;
}

ImageGeneration::Inputs ImageGeneration::draw(const models::Denoiser& model, data::Batch batch,
                                              const std::string& purpose) const {
  const int64_t first = batch.position;
  const auto uniform_at = [&](const std::string& what, size_t i) {
    return uniform(
        {.seed = args_.seed, .purpose = what, .sample = static_cast<uint64_t>(first) + i});
  };
  const std::string time = purpose + ".time", noise = purpose + ".noise", drop = purpose + ".label";
  const at::Tensor t_B =
      process_->draw_time(static_cast<int64_t>(batch.indices.size()),
                          [&](int64_t i) { return uniform_at(time, static_cast<size_t>(i)); });
  if (model.has_null_label()) {
    for (size_t i = 0; i < batch.labels.size(); ++i)
      if (uniform_at(drop, i) < model.label_dropout()) batch.labels[i] = model.args().classes;
  }
  return corrupt(model, batch, t_B, {.seed = args_.seed, .purpose = noise}, first);
}

data::Batch ImageGeneration::held_out_batch(int64_t first, int64_t count) const {
  const data::DatasetInfo& info = held_out_->info();
  const auto size = static_cast<size_t>(info.channels * info.height * info.width);
  const data::SampleReader reader(held_out_, args_.data.skips_unreadable(), args_.seed, "test");
  data::Batch batch;
  batch.images.resize(static_cast<size_t>(count) * size);
  for (int64_t i = 0; i < count; ++i) {
    const std::span<float> image(&batch.images[static_cast<size_t>(i) * size], size);
    const auto [index, label] = reader.read(first + i, first + i, image, batch.unreadable);
    batch.indices.push_back(index);
    batch.labels.push_back(label);
  }
  return batch;
}

TrainOutput ImageGeneration::train(const models::Denoiser& model, int64_t micro_batch) {
  require(loader_ != nullptr && micro_batch == next_, "micro-batch ", micro_batch,
          " was asked for, and the reader is at ", next_);
  data::Batch batch = loader_->next();
  ++next_;
  unreadable_.tell("train", batch.unreadable);
  const auto position = static_cast<uint64_t>(batch.position);
  TrainOutput result;
  result.samples = batch.indices;
  result.replaced = static_cast<int64_t>(batch.unreadable.size());
  const Inputs inputs = draw(model, std::move(batch), "train");
  const ops::PrecisionGuard precision(args_.precision);
  const at::Tensor output =
      model.forward(inputs.noised.x_BCHW,
                    {.training = true,
                     .micro_batches = args_.accumulate,
                     .timestep_B = inputs.noised.model_time_B,
                     .label_B = inputs.label_B,
                     .noise = {.seed = args_.seed, .purpose = "train.routing", .sample = position},
                     .routing = &result.routing});
  const diffusion::Losses losses = process_->loss(output, inputs.noised);
  result.losses.push_back({.name = "main", .value = losses.main_B.mean()});
  for (const auto& [name, value_B] : losses.parts)
    result.parts.emplace_back(name, value_B.detach().mean());
  if (result.routing.empty()) return result;
  if (micro_batch % args_.accumulate == 0) step_sums_.start_step();
  for (sparse::RoutingRecord& record : result.routing) record.step = &step_sums_;
  for (auto& [kind, value, weight] :
       sparse::total_losses(result.routing, model.to_tokens(inputs.noised.target_BCHW)))
    result.losses.push_back({.name = kind, .value = value, .weight = weight});
  return result;
}

EvalOutput ImageGeneration::evaluate(
    const models::Denoiser& model, const std::function<void(int64_t done, int64_t total)>& progress,
    const Inference& inference) {
  const sparse::RowThresholds thresholds{{inference.thresholds}, {}};
  const at::NoGradGuard no_grad;
  const ops::PrecisionGuard precision(args_.precision);
  const models::PackedForward packed(model);
  const int64_t count = std::min(args_.eval_samples, held_out_data()->info().count);
  require(count > 0, "there is nothing to evaluate: eval.samples = ", args_.eval_samples);
  const at::Tensor t_N = process_->spread_time(count);

  std::vector<std::pair<std::string, double>> sums;
  sparse::RoutingTotals totals;
  int64_t replaced = 0;
  for (int64_t first = 0; first < count; first += args_.eval_batch) {
    const int64_t size = std::min(args_.eval_batch, count - first);
    const data::Batch batch = held_out_batch(first, size);
    unreadable_.tell("test", batch.unreadable);
    replaced += static_cast<int64_t>(batch.unreadable.size());
    const Inputs inputs = corrupt(model, batch, t_N.narrow(0, first, size),
                                  {.seed = args_.seed, .purpose = "held-out.noise"}, first);
    std::vector<sparse::RoutingRecord> routing;
    const at::Tensor output =
        model.forward(inputs.noised.x_BCHW, {.timestep_B = inputs.noised.model_time_B,
                                             .label_B = inputs.label_B,
                                             .thresholds = &thresholds,
                                             .routing = &routing});
    totals.add(routing);

    const diffusion::Losses losses = process_->loss(output, inputs.noised);
    std::vector<std::pair<std::string, at::Tensor>> all = {{"main", losses.main_B}};
    all.insert(all.end(), losses.parts.begin(), losses.parts.end());
    sums.resize(all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      sums[i].first = all[i].first;
      sums[i].second += all[i].second.to(at::kDouble).sum().item<double>();
    }
    if (progress) progress(first + size, count);
  }

  for (auto& sum : sums) sum.second /= static_cast<double>(count);
  const sparse::RoutingStatistics statistics = totals.statistics();
  std::vector<std::pair<std::string, sparse::RoutingStatistics>> others;
  for (const sparse::Choice choice : totals.choices()) {
    if (choice == sparse::Choice::expert) continue;
    others.emplace_back(sparse::plural_of(choice), totals.statistics(choice));
  }
  return {.losses = std::move(sums),
          .experts_per_token = statistics.experts_per_token,
          .max_violation = statistics.max_violation,
          .starved = statistics.starved,
          .active = statistics.active,
          .others = std::move(others),
          .samples = count,
          .replaced = replaced};
}

void ImageGeneration::route(const models::Denoiser& model, int64_t batches, Routing mode,
                            const std::function<void(const RoutedBatch&)>& visit,
                            const Inference& inference) {
  const sparse::RowThresholds thresholds{{inference.thresholds}, {}};
  const at::NoGradGuard no_grad;
  const ops::PrecisionGuard precision(args_.precision);
  data::Loader loader(training_data(), args_.data, args_.batch, args_.seed);
  for (int64_t n = 0; n < batches; ++n) {
    data::Batch samples = loader.next();
    unreadable_.tell("train", samples.unreadable);
    const Inputs inputs = draw(model, std::move(samples), "route");
    RoutedBatch batch{.time_B = inputs.noised.model_time_B};
    const at::Tensor output = model.forward(
        inputs.noised.x_BCHW, {.training = mode == Routing::training,
                               .timestep_B = inputs.noised.model_time_B,
                               .label_B = inputs.label_B,
                               .noise = {.seed = args_.seed,
                                         .purpose = "route.routing",
                                         .sample = static_cast<uint64_t>(n * args_.batch)},
                               .thresholds = &thresholds,
                               .routing = &batch.records});
    batch.loss_B = process_->loss(output, inputs.noised).main_B;
    visit(batch);
  }
}

void ImageGeneration::check(const models::Denoiser& model, const SampleRequest& request) const {
  check_request(model, process_, request);
}

at::Tensor ImageGeneration::sample(const models::Denoiser& model,
                                   const SampleRequest& request) const {
  const ops::PrecisionGuard precision(args_.precision);
  const at::Tensor samples = draw_samples(model, process_, request);
  return data_info().latent ? samples : samples.clamp(-1, 1);
}

}  // namespace gallop::tasks
