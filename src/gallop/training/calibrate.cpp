#include "gallop/training/calibrate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <map>

#include "gallop/sparse/selection.h"

namespace gallop::training {

std::vector<CalibratedLayer> calibrate(tasks::Task& task, const models::Model& model,
                                       int64_t batches,
                                       const std::function<void(int64_t)>& progress) {
  struct Scores {
    sparse::Selection* selection = nullptr;
    std::vector<at::Tensor> gate_BLE;
  };
  std::vector<std::pair<std::string, Scores>> layers;
  std::map<std::string, size_t> index;
  int64_t done = 0;
  task.route(model, batches, [&](const std::vector<sparse::RoutingRecord>& records) {
    for (const sparse::RoutingRecord& record : records) {
      if (record.selection == nullptr || record.selection->threshold() == nullptr) continue;
      const auto [entry, added] = index.try_emplace(record.layer, layers.size());
      if (added) layers.push_back({record.layer, {record.selection, {}}});
      layers[entry->second].second.gate_BLE.push_back(record.gate_BLE.detach());
    }
    if (progress) progress(++done);
  });

  const at::NoGradGuard no_grad;
  std::vector<CalibratedLayer> calibrated;
  for (auto& [name, scores] : layers) {
    const at::Tensor& threshold = **scores.selection->threshold();
    CalibratedLayer layer{.layer = name, .before = threshold.clone()};
    layer.after = scores.selection->exact_threshold(at::cat(scores.gate_BLE));
    scores.gate_BLE.clear();
    calibrated.push_back(std::move(layer));
  }
  for (size_t i = 0; i < calibrated.size(); ++i) {
    (**layers[i].second.selection->threshold()).copy_(calibrated[i].after);
  }
  return calibrated;
}

}  // namespace gallop::training
