#include "gallop/compute/dial.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/compute/calibrate.h"
#include "gallop/compute/dial_budget.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::compute {
namespace {

// Metadata that tells one set of weights from another.
constexpr const char* identity[] = {"run", "role", "step"};

// Beside the thresholds of a setting.
constexpr const char* edges_name = "range-edges";
constexpr const char* active_name = "range-active";

std::vector<double> numbers_of(const formats::TensorView& view) {
  const at::Tensor values = nn::to_tensor(view).to(at::kDouble).contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

// All digits: two settings that differ have two names.
std::string text_of(double active) {
  char text[40];
  return std::string(text, std::to_chars(text, text + sizeof text, active).ptr);
}

// Equally filled ranges of the times.
std::vector<double> edges_of(const at::Tensor& time_N, int64_t ranges) {
  const at::Tensor sorted_N = std::get<0>(time_N.to(at::kDouble).sort());
  std::vector<double> edges;
  for (int64_t i = 1; i < ranges; ++i) {
    edges.push_back(sorted_N[i * sorted_N.size(0) / ranges].item<double>());
  }
  return edges;
}

// Numbers of experts that the ranges are tried with, evenly spaced in their logarithm: from half of
// the least that is asked for to twice the most.
std::vector<double> candidates_for(const std::vector<double>& actives, int64_t experts) {
  constexpr int count = 8;
  const auto [least, most] = std::minmax_element(actives.begin(), actives.end());
  const double from = *least / 2, to = std::min(*most * 2, static_cast<double>(experts));
  std::vector<double> candidates;
  for (int i = 0; i < count; ++i) {
    candidates.push_back(from * std::pow(to / from, static_cast<double>(i) / (count - 1)));
  }
  return candidates;
}

// The settings of one model on one sample of the data.
class Measurement {
 public:
  Measurement(const tasks::Task& task, const models::Model& model, const DialOptions& options)
      : task_(task), model_(model), options_(options) {
    const auto settings = static_cast<int64_t>(options.actives.size());
    total_ = options.batches * (1 + settings * refinements);
  }

  std::vector<DialSetting> settings() {
    trained_ = measure(nullptr, [this](int64_t experts) {
      for (const double active : options_.actives) {
        require(active > 0 && active <= static_cast<double>(experts), "the compute dial: ", active,
                " experts a token are not more than 0 and at most the ", experts, " there are");
      }
      std::vector<double> first = options_.actives;
      if (options_.ranges > 1) first = tried_ = candidates_for(options_.actives, experts);
      return std::vector<std::optional<double>>(first.begin(), first.end());
    });
    if (trained_.layers.empty()) return {};
    if (options_.ranges > 1) try_candidates();
    std::vector<DialSetting> settings;
    for (size_t i = 0; i < options_.actives.size(); ++i) {
      const double active = options_.actives[i];
      settings.push_back(options_.ranges == 1 ? refined(i, active) : shared_out(active));
    }
    return settings;
  }

 private:
  // By these thresholds; null: as training routes.
  MeasuredThresholds measure(const sparse::ThresholdSetting* thresholds,
                             const WantedActives& wanted) {
    const auto progress = [this](int64_t) {
      done_ = std::min(done_ + 1, total_);
      if (options_.progress) options_.progress(done_, total_);
    };
    return measure_thresholds(
        task_, model_,
        {.batches = options_.batches, .training = thresholds == nullptr, .thresholds = thresholds},
        wanted, progress);
  }
  // What the model does with a setting, and the thresholds for `wanted` from the scores it then
  // gives.
  MeasuredThresholds measure_with(const DialSetting& setting,
                                  std::vector<std::optional<double>> wanted = {}) {
    return measure(&setting.thresholds, [&](int64_t) { return wanted; });
  }

  // One threshold a layer for all noise levels.
  static DialSetting setting_of(const MeasuredThresholds& measured, size_t i, double active) {
    DialSetting setting{.active = active, .range_active = {active}, .thresholds = {}};
    for (const LayerThresholds& layer : measured.layers) {
      setting.thresholds[layer.selection->threshold()->name()] = {{}, layer.values[i].unsqueeze(0)};
    }
    return setting;
  }
  // From number i of what training's scores were measured for.
  DialSetting refined(size_t i, double active) {
    DialSetting setting = setting_of(trained_, i, active);
    for (int64_t n = 0; n < refinements; ++n) {
      setting = setting_of(measure_with(setting, {active}), 0, active);
    }
    return setting;
  }

  // Means over the samples of each range.
  std::vector<double> of_ranges(const at::Tensor& x_N) const {
    std::vector<double> means;
    for (int64_t r = 0; r < options_.ranges; ++r) {
      means.push_back(x_N.to(at::kDouble).masked_select(range_N_.eq(r)).mean().item<double>());
    }
    return means;
  }

  // What each range loses with the thresholds of each candidate: at equal ones for all ranges the
  // order that was learned says how experts go to noise levels, and shifting it is what is tried.
  void try_candidates() {
    require(trained_.time_N.defined(),
            "the compute dial: this model is given no time, so that there are no ranges of noise "
            "levels: leave --noise-ranges out");
    require(options_.ranges <= trained_.time_N.size(0), "the compute dial: ", options_.ranges,
            " ranges of noise levels and only ", trained_.time_N.size(0),
            " samples to calibrate them on: more --batches, or fewer ranges");
    edges_ = edges_of(trained_.time_N, options_.ranges);
    range_N_ = sparse::ThresholdLevels{edges_, {}}.range_of(trained_.time_N);
    total_ += options_.batches * static_cast<int64_t>(tried_.size()) * (1 + refinements);
    curves_.resize(static_cast<size_t>(options_.ranges));
    for (size_t i = 0; i < tried_.size(); ++i) {
      candidates_.push_back(refined(i, tried_[i]));
      const MeasuredThresholds measured = measure_with(candidates_.back());
      const std::vector<double> used = of_ranges(measured.active_N),
                                loss = of_ranges(measured.loss_N);
      for (size_t r = 0; r < curves_.size(); ++r) {
        curves_[r].active.push_back(used[r]);
        curves_[r].loss.push_back(loss[r]);
      }
    }
  }

  // The thresholds that give each range so many experts a token: between those of two candidates.
  DialSetting mixed(double active, const std::vector<double>& range_active) const {
    DialSetting setting{.active = active, .range_active = range_active, .thresholds = {}};
    for (const auto& [name, first] : candidates_.front().thresholds) {
      std::vector<at::Tensor> values;
      for (size_t r = 0; r < curves_.size(); ++r) {
        const std::vector<double>& x = curves_[r].active;
        size_t i = 0;
        while (i + 2 < x.size() && x[i + 1] < range_active[r]) ++i;
        const double width = x[i + 1] - x[i];
        const double weight = width > 0 ? std::clamp((range_active[r] - x[i]) / width, 0., 1.) : 0;
        values.push_back(candidates_[i].thresholds.at(name).values[0].lerp(
            candidates_[i + 1].thresholds.at(name).values[0], weight));
      }
      setting.thresholds[name] = {edges_, at::stack(values)};
    }
    return setting;
  }
  DialSetting shared_out(double active) {
    DialSetting setting;
    double budget = active;
    for (int64_t i = 0; i < refinements; ++i) {
      setting = mixed(active, share_budget(curves_, budget));
      const MeasuredThresholds measured = measure_with(setting);
      setting.range_active = of_ranges(measured.active_N);
      // Curves are not straight: what was used above the budget is asked less for.
      const double used = measured.active_N.mean().item<double>();
      if (used > active) budget *= active / used;
    }
    return setting;
  }

  const tasks::Task& task_;
  const models::Model& model_;
  const DialOptions& options_;
  MeasuredThresholds trained_;
  int64_t done_ = 0, total_ = 0;
  std::vector<double> tried_;  // numbers of experts of the candidates
  std::vector<double> edges_;
  at::Tensor range_N_;
  std::vector<DialSetting> candidates_;
  std::vector<LossCurve> curves_;
};

}  // namespace

std::vector<DialSetting> measure_dial(const tasks::Task& task, const models::Model& model,
                                      const DialOptions& options) {
  Measurement measurement(task, model, options);
  return measurement.settings();
}

void require_fit(const models::Model& model, const DialSetting& setting) {
  std::map<std::string, const sparse::InferenceThreshold*> own;
  for (const sparse::Selection* selection : sparse::selections_of(model)) {
    const sparse::InferenceThreshold* threshold = selection->threshold();
    if (threshold != nullptr) own.emplace(threshold->name(), threshold);
  }
  for (const auto& [name, levels] : setting.thresholds) {
    require(own.contains(name) && levels.values.sizes().slice(1) == own.at(name)->shape(),
            "the compute dial holds a threshold '", name,
            "' that this model does not have in that shape: it was measured on another model");
    own.at(name)->require_fit(levels);
  }
}

void save_dial(const std::filesystem::path& path, const std::vector<DialSetting>& settings,
               const formats::Metadata& weights) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const DialSetting& setting : settings) {
    const auto add = [&, active = text_of(setting.active)](const std::string& name,
                                                           const at::Tensor& value) {
      tensors.emplace_back(active + "/" + name, value.contiguous());
    };
    add(edges_name, at::tensor(setting.edges(), at::kDouble));
    add(active_name, at::tensor(setting.range_active, at::kDouble));
    for (const auto& [name, levels] : setting.thresholds) add(name, levels.values);
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
  DialSetting setting{.active = active, .range_active = {}, .thresholds = {}};
  std::vector<std::string> known;
  std::vector<double> edges;
  for (const formats::TensorView& view : reader.tensors()) {
    const size_t slash = view.name.find('/');
    const std::string of = view.name.substr(0, slash);
    if (known.empty() || known.back() != of) known.push_back(of);
    if (of != text_of(active)) continue;
    const std::string name = view.name.substr(slash + 1);
    if (name == edges_name) {
      edges = numbers_of(view);
    } else if (name == active_name) {
      setting.range_active = numbers_of(view);
    } else {
      setting.thresholds[name].values = nn::to_tensor(view);
    }
  }
  require(!setting.thresholds.empty(), path.string(), " has no setting for ", active,
          " experts a token; it has ", join_list(known), ". Others: gallop calibrate RUN --active ",
          active);
  for (auto& [name, levels] : setting.thresholds) levels.edges = edges;
  return setting;
}

}  // namespace gallop::compute
