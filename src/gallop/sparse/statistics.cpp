#include "gallop/sparse/statistics.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "gallop/sparse/choice/entropy.h"

namespace gallop::sparse {

double max_violation(const at::Tensor& loads_E) {
  const at::Tensor loads = loads_E.to(at::kDouble);
  const double mean = loads.mean().item<double>();
  if (mean == 0) return std::numeric_limits<double>::quiet_NaN();
  return (loads.max().item<double>() - mean) / mean;
}

namespace {

// A table of all pairs of them has at most 16 million numbers.
constexpr int64_t most_combined = 4096;

at::Tensor together_of(const at::Tensor& mask_TE) {
  const at::Tensor mask = mask_TE.to(at::kDouble);  // counts up to 2^53 stay exact
  return mask.t().matmul(mask).to(at::kCPU, at::kLong);
}

}  // namespace

double combination_usage(const at::Tensor& mask_TE) {
  return combination_usage_of(together_of(mask_TE));
}

double combination_usage_of(const at::Tensor& together_EE) {
  const at::Tensor together = together_EE.contiguous();
  const int64_t E = together.size(0);
  const int64_t* count = together.const_data_ptr<int64_t>();
  std::vector<int64_t> pairs;
  int64_t total = 0;
  for (int64_t i = 0; i < E; ++i) {
    for (int64_t j = i + 1; j < E; ++j) {
      pairs.push_back(count[i * E + j]);
      total += pairs.back();
    }
  }
  if (total == 0) return 0;
  std::sort(pairs.begin(), pairs.end(), std::greater<>());
  int64_t cumulative = 0, used = 0;
  for (const int64_t pair : pairs) {
    cumulative += pair;
    if (100 * cumulative < 95 * total) ++used;
  }
  return 100.0 * static_cast<double>(used) / static_cast<double>(pairs.size());
}

void RoutingTotals::add(const std::vector<RoutingRecord>& records) {
  if (layers_.empty()) layers_.resize(records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    const RoutingRecord& record = records[i];
    Layer& layer = layers_.at(i);
    const Kept& kept = record.kept;
    const at::Tensor loads_E = kept.loads();
    layer.choice = record.choice;
    layer.active = record.active;
    layer.tokens += kept.samples() * kept.tokens();
    layer.starved += kept.starved();
    layer.loads_E = layer.loads_E.defined() ? layer.loads_E.add(loads_E) : loads_E;
    if (!detailed_) continue;
    if (kept.candidates() <= most_combined) {
      const at::Tensor together_EE = together_of(kept.mask_BLE().reshape({-1, kept.candidates()}));
      layer.together_EE =
          layer.together_EE.defined() ? layer.together_EE.add(together_EE) : together_EE;
    }
    layer.entropy += entropy_of(record.logits_BLE).to(at::kDouble).sum().item<double>();
  }
}

void RoutingTotals::merge(const collectives::World& world) {
  if (world.size == 1) return;
  const auto sum = [&](at::Tensor& counts) {
    if (!counts.defined()) return;
    counts = counts.to(at::kCPU, at::kLong).contiguous();
    world.collectives->sum(
        std::span(counts.mutable_data_ptr<int64_t>(), static_cast<size_t>(counts.numel())));
  };
  for (Layer& layer : layers_) {
    world.collectives->sum(std::span(&layer.tokens, 1));
    world.collectives->sum(std::span(&layer.starved, 1));
    world.collectives->sum(std::span(&layer.entropy, 1));
    sum(layer.loads_E);
    sum(layer.together_EE);
  }
}

std::vector<Choice> RoutingTotals::choices() const {
  std::vector<Choice> found;
  for (const Layer& layer : layers_) {
    if (std::find(found.begin(), found.end(), layer.choice) == found.end()) {
      found.push_back(layer.choice);
    }
  }
  return found;
}

RoutingStatistics RoutingTotals::statistics(Choice choice) const {
  RoutingStatistics mean;
  const auto alike = [&](const Layer& layer) { return layer.choice == choice; };
  const auto layers = static_cast<double>(std::count_if(layers_.begin(), layers_.end(), alike));
  for (const Layer& layer : layers_) {
    if (!alike(layer)) continue;
    const auto tokens = static_cast<double>(layer.tokens);
    mean.active += layer.active / layers;
    mean.experts_per_token +=
        static_cast<double>(layer.loads_E.sum().item<int64_t>()) / tokens / layers;
    mean.max_violation += max_violation(layer.loads_E) / layers;
    if (detailed_) {
      mean.combination_usage +=
          (layer.together_EE.defined() ? combination_usage_of(layer.together_EE)
                                       : std::numeric_limits<double>::quiet_NaN()) /
          layers;
      mean.entropy += layer.entropy / tokens / layers;
    }
    mean.starved += static_cast<double>(layer.starved) / tokens / layers;
  }
  return mean;
}

RoutingStatistics statistics_of(const std::vector<RoutingRecord>& records) {
  RoutingTotals totals;
  totals.add(records);
  return totals.statistics();
}

}  // namespace gallop::sparse
