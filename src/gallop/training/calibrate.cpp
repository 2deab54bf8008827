#include "gallop/training/calibrate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <map>

#include "gallop/sparse/selection.h"

namespace gallop::training {

CollectedScores collect_scores(tasks::Task& task, const models::Model& model, int64_t batches,
                               tasks::Task::Routing routing,
                               const std::function<void(int64_t)>& progress) {
  CollectedScores all;
  std::vector<LayerScores>& layers = all.layers;
  std::vector<at::Tensor> times, losses, actives;
  std::vector<std::vector<at::Tensor>> parts;
  std::map<std::string, size_t> index;
  int64_t done = 0;
  task.route(model, batches, routing, [&](const tasks::RoutedBatch& batch) {
    times.push_back(batch.time_B);
    losses.push_back(batch.loss_B);
    std::vector<at::Tensor> used;
    for (const sparse::RoutingRecord& record : batch.records) {
      if (record.selection == nullptr || record.selection->threshold() == nullptr) continue;
      const auto [entry, added] = index.try_emplace(record.layer, layers.size());
      if (added) {
        layers.push_back({record.layer, record.selection, {}});
        parts.emplace_back();
      }
      parts[entry->second].push_back(record.compared_BLE.detach());
      used.push_back(record.mask_BLE.sum({1, 2}).to(at::kDouble).div(record.mask_BLE.size(1)));
    }
    if (!used.empty()) actives.push_back(at::stack(used).mean(0));
    if (progress) progress(++done);
  });
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].compared_NLE = at::cat(parts[i]);
    parts[i].clear();
  }
  if (!times.empty()) {
    all.time_N = at::cat(times);
    all.loss_N = at::cat(losses);
    if (!actives.empty()) all.active_N = at::cat(actives);
  }
  return all;
}

std::vector<CalibratedLayer> calibrate(tasks::Task& task, const models::Model& model,
                                       int64_t batches,
                                       const std::function<void(int64_t)>& progress) {
  const std::vector<LayerScores> layers =
      collect_scores(task, model, batches, tasks::Task::Routing::training, progress).layers;
  const at::NoGradGuard no_grad;
  std::vector<CalibratedLayer> calibrated;
  for (const LayerScores& layer : layers) {
    const at::Tensor& threshold = **layer.selection->threshold();
    calibrated.push_back({.layer = layer.layer,
                          .before = threshold.clone(),
                          .after = layer.selection->exact_threshold(layer.compared_NLE)});
  }
  for (size_t i = 0; i < calibrated.size(); ++i) {
    (**layers[i].selection->threshold()).copy_(calibrated[i].after);
  }
  return calibrated;
}

}  // namespace gallop::training
