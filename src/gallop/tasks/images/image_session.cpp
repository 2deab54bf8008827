#include "gallop/tasks/images/image_session.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/models/packed_forward.h"
#include "gallop/tasks/images/keyed_noise.h"

namespace gallop::tasks {
namespace {

using diffusion::Sampler;

const SampleSettings& settings_of(const Request& request) {
  return dynamic_cast<const SampleSettings&>(*request.settings);
}

std::unique_ptr<Sampler> make_sampler(const std::shared_ptr<const diffusion::Objective>& objective,
                                      const SampleSettings& settings) {
  return config::make<Sampler>(settings.sampler, {.objective = objective, .steps = settings.steps});
}

at::Tensor joined(const std::vector<at::Tensor>& parts) {
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

/// Throws Error unless all of a lane are finite.
void require_finite(const at::Tensor& samples_BCHW, const std::vector<const Request*>& of) {
  const at::Tensor finite_B = samples_BCHW.isfinite().flatten(1).all(1);
  if (finite_B.all().item<bool>()) return;
  const int64_t bad = finite_B.to(at::kLong).argmin(0).item<int64_t>();
  const at::Tensor sample = samples_BCHW.select(0, bad);
  const int64_t wrong = sample.isfinite().logical_not().sum().item<int64_t>();
  const Request& request = *of[static_cast<size_t>(bad)];
  fail("sample ", request.index,
       request.condition.is_int() ? " (label " + request.condition.dump() + ")" : "",
       " is not finite: ", wrong, " of its ", sample.numel(), " values are NaN or infinite, and ",
       finite_B.logical_not().sum().item<int64_t>(), " of the ", samples_BCHW.size(0),
       " samples of its batch are so. Look at the weights with "
       "`gallop inspect`, or try less guidance, more steps or another sampler");
}

}  // namespace

void require_possible(const models::Denoiser& model,
                      const std::shared_ptr<const diffusion::Objective>& objective,
                      const std::vector<Request>& requests) {
  const int64_t classes = model.args().classes;
  const SampleSettings* checked = nullptr;
  for (const Request& request : requests) {
    const SampleSettings& settings = settings_of(request);
    require(request.index >= 0, "the first sample is ", request.index, "; samples count from 0");
    if (&settings != checked) {
      make_sampler(objective, settings);
      settings.guidance_settings().validate();
      require(classes == 0 || settings.guidance == 1 || model.has_null_label(),
              "guidance of scale ", settings.guidance,
              " needs a null label, and this model has none (label_dropout = 0): use scale 1");
      sparse::switched_off(model, settings.off);
      checked = &settings;
    }
    if (classes == 0) continue;
    const int64_t label = request.condition.as_int();
    require(label >= 0 && label < classes + (model.has_null_label() ? 1 : 0), "label ", label,
            " is out of range: the model knows 0 to ", classes - 1,
            model.has_null_label() ? ", and " + std::to_string(classes) + " for no class" : "");
  }
}

ImageSession::ImageSession(Args args) : args_(std::move(args)) {
  require(args_.rows > 0, "samples are drawn ", args_.rows, " at once; give at least 1");
}

void ImageSession::add(const std::vector<Request>& requests) {
  require_possible(args_.model, args_.objective, requests);
  for (const Request& request : requests) {
    waiting_.push_back(requests_.size());
    requests_.push_back(request);
    work_.total += settings_of(request).steps;
  }
}

std::vector<Made> ImageSession::take() { return std::exchange(made_, {}); }

// Requests start in their order, as many with the same settings together as there is room for.
void ImageSession::start_lanes() {
  int64_t room = args_.rows;
  for (const Lane& lane : lanes_) room -= lane.rows();
  while (room > 0 && !waiting_.empty()) {
    const config::Struct* settings = requests_[waiting_.front()].settings.get();
    std::vector<size_t> together;
    for (; room > 0 && !waiting_.empty(); --room) {
      if (requests_[waiting_.front()].settings.get() != settings) break;
      together.push_back(waiting_.front());
      waiting_.pop_front();
    }
    lanes_.push_back(make_lane(std::move(together)));
  }
}

ImageSession::Lane ImageSession::make_lane(std::vector<size_t> requests) const {
  const models::Denoiser::Args& sizes = args_.model.args();
  const std::vector<int64_t> shape = {sizes.channels, sizes.height, sizes.width};
  const at::Device device = (*args_.model.parameters().at(0))->device();
  const SampleSettings& settings = settings_of(requests_[requests.front()]);
  std::vector<NoiseKey> keys;
  at::Tensor label_B =
      at::empty({static_cast<int64_t>(requests.size())}, at::TensorOptions(at::kLong));
  auto* label = label_B.mutable_data_ptr<int64_t>();
  for (const size_t number : requests) {
    const Request& request = requests_[number];
    keys.push_back({.seed = request.seed, .sample = static_cast<uint64_t>(request.index)});
    *label++ = sizes.classes > 0 ? request.condition.as_int() : 0;
  }
  const auto noise_of = [keys, shape, device](std::string_view purpose, int64_t step) {
    std::vector<NoiseKey> rows;
    for (const NoiseKey& key : keys) {
      rows.push_back(key.with_purpose(purpose).with_step(static_cast<uint64_t>(step)));
    }
    return keyed_noise(rows, shape).to(device);
  };
  Lane lane{
      .requests = std::move(requests),
      .trajectory = make_sampler(args_.objective, settings)
                        ->begin(noise_of("sample", 0),
                                [noise_of](int64_t step) { return noise_of("sampler", step); }),
      .guidance = settings.guidance_settings()};
  if (sizes.classes > 0) lane.label_B = label_B.to(device);
  if (!settings.off.empty()) {
    lane.off =
        std::make_unique<sparse::SwitchedOff>(sparse::switched_off(args_.model, settings.off));
  }
  return lane;
}

std::vector<at::Tensor> ImageSession::forward() {
  const models::Denoiser& model = args_.model;
  std::vector<at::Tensor> x, t, label;
  std::vector<const sparse::ThresholdSetting*> of_rows;
  std::vector<const sparse::SwitchedOff*> off_of_rows;
  std::vector<bool> guided;
  const auto put = [&](Lane& lane, const at::Tensor& label_B) {
    const diffusion::Query& query = lane.trajectory->query();
    x.push_back(query.x_BCHW);
    t.push_back(query.t_B);
    if (label_B.defined()) label.push_back(label_B);
    for (const size_t number : lane.requests) of_rows.push_back(requests_[number].thresholds);
    off_of_rows.insert(off_of_rows.end(), lane.requests.size(), lane.off.get());
  };
  for (Lane& lane : lanes_) {
    put(lane, lane.label_B);
    const double time = lane.trajectory->query().t_B.select(0, 0).item<double>();
    guided.push_back(lane.label_B.defined() &&
                     lane.guidance.acts_at(args_.objective->noise_level(time)));
  }
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (!guided[i]) continue;
    const at::Tensor& own_B = lanes_[i].label_B;
    put(lanes_[i], at::full(own_B.sizes(), model.args().classes, own_B.options()));
  }
  const sparse::RowThresholds thresholds = sparse::thresholds_of_rows(of_rows, x.front().device());
  const sparse::RowsSwitchedOff off = sparse::switched_off_of_rows(off_of_rows, x.front().device());
  const bool nobody_asks = off.settings.size() == 1 && off.settings[0] == nullptr;
  const at::Tensor output =
      model.forward(joined(x), {.timestep_B = joined(t),
                                .label_B = label.empty() ? at::Tensor() : joined(label),
                                .thresholds = &thresholds,
                                .switched_off = nobody_asks ? nullptr : &off});

  std::vector<at::Tensor> outputs;
  int64_t first = 0;
  const auto next = [&](const Lane& lane) {
    const at::Tensor part = output.narrow(0, first, lane.rows());
    first += lane.rows();
    return part;
  };
  for (const Lane& lane : lanes_) outputs.push_back(next(lane));
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (!guided[i]) continue;
    const diffusion::GuidanceSettings& guidance = lanes_[i].guidance;
    outputs[i] =
        diffusion::combine_guided(outputs[i], next(lanes_[i]), guidance.scale,
                                  guidance.guided_of(lanes_[i].trajectory->query().x_BCHW.size(1)));
  }
  return outputs;
}

void ImageSession::finish(const Lane& lane) {
  at::Tensor samples = lane.trajectory->state().x_BCHW.to(at::kCPU, at::kFloat);
  std::vector<const Request*> of;
  for (const size_t number : lane.requests) of.push_back(&requests_[number]);
  require_finite(samples, of);
  if (args_.clamped) samples = samples.clamp(-1, 1);
  for (int64_t i = 0; i < lane.rows(); ++i) {
    made_.push_back({.request = lane.requests[static_cast<size_t>(i)],
                     .tensors = {{"samples", samples.select(0, i)}}});
  }
}

void ImageSession::advance() {
  require(!done(), "all samples are drawn");
  const at::NoGradGuard no_grad;
  const ops::PrecisionGuard precision(args_.precision);
  if (!packed_) packed_ = models::packed_weights(args_.model);
  const ops::PackedGuard packed(*packed_);
  start_lanes();
  const std::vector<at::Tensor> outputs = forward();
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i].trajectory->answer(outputs[i])) work_.done += lanes_[i].rows();
    if (lanes_[i].trajectory->done()) finish(lanes_[i]);
  }
  std::erase_if(lanes_, [](const Lane& lane) { return lane.trajectory->done(); });
}

}  // namespace gallop::tasks
