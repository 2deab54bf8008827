#include "gallop/training/dial.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <cmath>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/sparse/selection.h"
#include "gallop/training/calibrate.h"

namespace gallop::training {
namespace {

// Metadata that tells one set of weights from another.
constexpr const char* identity[] = {"run", "role", "step"};

std::string text_of(double active) {
  std::ostringstream text;
  text << active;
  return text.str();
}

}  // namespace

ThresholdGuard::ThresholdGuard(const models::Model& model) {
  for (const nn::Parameter* parameter : model.parameters()) {
    if (parameter->attributes().buffer) before_.emplace_back(**parameter, (**parameter).clone());
  }
}

ThresholdGuard::~ThresholdGuard() {
  const at::NoGradGuard no_grad;
  for (auto& [buffer, value] : before_) buffer.copy_(value);
}

std::vector<DialSetting> measure_dial(tasks::Task& task, const models::Model& model,
                                      const std::vector<double>& actives, int64_t batches,
                                      const std::function<void(int64_t, int64_t)>& progress) {
  const ThresholdGuard guard(model);
  const auto settings_count = static_cast<int64_t>(actives.size());
  const int64_t total = batches * (1 + settings_count * refinements);
  int64_t done = 0;
  const auto count = [&](int64_t) {
    ++done;
    if (progress) progress(done, total);
  };
  const auto thresholds = [](const std::vector<LayerScores>& layers, double active) {
    std::map<std::string, at::Tensor> by_name;
    for (const LayerScores& layer : layers) {
      by_name[layer.selection->threshold()->name()] =
          layer.selection->exact_threshold(layer.gate_NLE, active);
    }
    return by_name;
  };
  std::vector<DialSetting> settings;
  {
    const auto layers = collect_scores(task, model, batches, tasks::Task::Routing::training, count);
    if (layers.empty()) return settings;
    for (const double active : actives) settings.push_back({active, thresholds(layers, active)});
  }
  for (DialSetting& setting : settings) {
    for (int64_t i = 0; i < refinements; ++i) {
      turn_dial(model, setting);
      setting.thresholds =
          thresholds(collect_scores(task, model, batches, tasks::Task::Routing::inference, count),
                     setting.active);
    }
  }
  return settings;
}

void turn_dial(const models::Model& model, const DialSetting& setting) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> own;
  for (const nn::Parameter* parameter : model.parameters()) {
    if (parameter->attributes().buffer) own.emplace(parameter->name(), **parameter);
  }
  for (const auto& [name, threshold] : setting.thresholds) {
    const auto found = own.find(name);
    require(found != own.end() && found->second.sizes() == threshold.sizes(),
            "the compute dial holds a threshold '", name,
            "' that this model does not have in that shape: it was measured on another model");
  }
  for (const auto& [name, threshold] : setting.thresholds) own.at(name).copy_(threshold);
}

void save_dial(const std::filesystem::path& path, const std::vector<DialSetting>& settings,
               const formats::Metadata& weights) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const DialSetting& setting : settings) {
    for (const auto& [name, threshold] : setting.thresholds) {
      tensors.emplace_back(text_of(setting.active) + "/" + name, threshold.contiguous());
    }
  }
  formats::Metadata metadata = {{"format", "gallop-dial"}};
  for (const char* key : identity) {
    const auto found = weights.find(key);
    if (found != weights.end()) metadata.emplace(*found);
  }
  nn::save_tensors(path, tensors, metadata);
}

DialSetting load_dial(const std::filesystem::path& path, double active,
                      const formats::Metadata& weights) {
  const formats::SafetensorsReader reader(path);
  for (const char* key : identity) {
    const auto measured = reader.metadata().find(key), wanted = weights.find(key);
    const std::string there = measured == reader.metadata().end() ? "" : measured->second;
    const std::string here = wanted == weights.end() ? "" : wanted->second;
    require(there == here, path.string(), ": the compute dial was measured on other weights (", key,
            " '", there, "', these have '", here, "'): run `gallop calibrate --active` again");
  }
  DialSetting setting{.active = active, .thresholds = {}};
  std::vector<std::string> known;
  for (const formats::TensorView& view : reader.tensors()) {
    const size_t slash = view.name.find('/');
    const std::string of = view.name.substr(0, slash);
    if (known.empty() || known.back() != of) known.push_back(of);
    if (of != text_of(active)) continue;
    setting.thresholds.emplace(view.name.substr(slash + 1), nn::to_tensor(view));
  }
  require(!setting.thresholds.empty(), path.string(), " has no setting for ", active,
          " experts a token; it has ", join_list(known), ". Others: gallop calibrate RUN --active ",
          active);
  return setting;
}

}  // namespace gallop::training
