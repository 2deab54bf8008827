#include "tests/support/collected_scores.h"

#include <ATen/ops/cat.h>

#include <map>

#include "gallop/sparse/choice/selection.h"

namespace gallop::training {

CollectedScores collect_scores(const tasks::Task& task, const models::Model& model,
                               const tasks::CalibrationRun& run) {
  CollectedScores all;
  std::vector<at::Tensor> times;
  std::vector<std::vector<at::Tensor>> parts;
  std::map<std::string, size_t> index;
  tasks::calibration_run(task, model, run, [&](const tasks::Outcome& batch) {
    times.push_back(batch.time_B);
    for (const sparse::RoutingRecord& record : batch.routing) {
      if (record.selection == nullptr || record.selection->threshold() == nullptr) continue;
      const auto [entry, added] = index.try_emplace(record.layer, parts.size());
      if (added) {
        all.layers.push_back({record.layer, record.selection, {}});
        parts.emplace_back();
      }
      parts[entry->second].push_back(record.compared_BLE.detach().clone());
    }
  });
  for (size_t i = 0; i < parts.size(); ++i) all.layers[i].compared_NLE = at::cat(parts[i]);
  all.time_N = at::cat(times);
  return all;
}

}  // namespace gallop::training
