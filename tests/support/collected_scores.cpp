#include "tests/support/collected_scores.h"

#include <ATen/ops/cat.h>

#include <map>

#include "gallop/sparse/choice/selection.h"

namespace gallop::training {

CollectedScores collect_scores(tasks::Task& task, const models::Denoiser& model, int64_t batches,
                               tasks::Task::Routing routing, const tasks::Inference& inference) {
  CollectedScores all;
  std::vector<at::Tensor> times;
  std::vector<std::vector<at::Tensor>> parts;
  std::map<std::string, size_t> index;
  task.route(
      model, batches, routing,
      [&](const tasks::RoutedBatch& batch) {
        times.push_back(batch.time_B);
        for (const sparse::RoutingRecord& record : batch.records) {
          if (record.selection == nullptr || record.selection->threshold() == nullptr) continue;
          const auto [entry, added] = index.try_emplace(record.layer, parts.size());
          if (added) {
            all.layers.push_back({record.layer, record.selection, {}});
            parts.emplace_back();
          }
          parts[entry->second].push_back(record.compared_BLE.detach().clone());
        }
      },
      inference);
  for (size_t i = 0; i < parts.size(); ++i) all.layers[i].compared_NLE = at::cat(parts[i]);
  all.time_N = at::cat(times);
  return all;
}

}  // namespace gallop::training
