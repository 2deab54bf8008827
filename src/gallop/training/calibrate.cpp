#include "gallop/training/calibrate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <map>

#include "gallop/sparse/selection.h"

namespace gallop::training {

std::vector<LayerScores> collect_scores(tasks::Task& task, const models::Model& model,
                                        int64_t batches, tasks::Task::Routing routing,
                                        const std::function<void(int64_t)>& progress) {
  std::vector<LayerScores> layers;
  std::vector<std::vector<at::Tensor>> parts;
  std::map<std::string, size_t> index;
  int64_t done = 0;
  task.route(model, batches, routing, [&](const std::vector<sparse::RoutingRecord>& records) {
    for (const sparse::RoutingRecord& record : records) {
      if (record.selection == nullptr || record.selection->threshold() == nullptr) continue;
      const auto [entry, added] = index.try_emplace(record.layer, layers.size());
      if (added) {
        layers.push_back({record.layer, record.selection, {}});
        parts.emplace_back();
      }
      parts[entry->second].push_back(record.gate_BLE.detach());
    }
    if (progress) progress(++done);
  });
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].gate_NLE = at::cat(parts[i]);
    parts[i].clear();
  }
  return layers;
}

std::vector<CalibratedLayer> calibrate(tasks::Task& task, const models::Model& model,
                                       int64_t batches,
                                       const std::function<void(int64_t)>& progress) {
  const std::vector<LayerScores> layers =
      collect_scores(task, model, batches, tasks::Task::Routing::training, progress);
  const at::NoGradGuard no_grad;
  std::vector<CalibratedLayer> calibrated;
  for (const LayerScores& layer : layers) {
    const at::Tensor& threshold = **layer.selection->threshold();
    calibrated.push_back({.layer = layer.layer,
                          .before = threshold.clone(),
                          .after = layer.selection->exact_threshold(layer.gate_NLE)});
  }
  for (size_t i = 0; i < calibrated.size(); ++i) {
    (**layers[i].selection->threshold()).copy_(calibrated[i].after);
  }
  return calibrated;
}

}  // namespace gallop::training
