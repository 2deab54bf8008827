#include "tests/support/snapshots.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <fstream>

namespace gallop::training {
namespace {

bool equal(const runs::NamedTensors& a, const runs::NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.dtype() == y.second.dtype() && x.second.equal(y.second);
  });
}

}  // namespace

runs::Snapshot snapshot_of(int64_t step, double variant) {
  const double v = static_cast<double>(step) + variant;
  runs::Snapshot s;
  s.step = step;
  s.model = {{"blocks.0.w", at::full({3, 4}, v)}, {"threshold", at::full({}, v / 7)}};
  s.ema = {{"blocks.0.w", at::full({3, 4}, v - 0.5)}, {"threshold", at::full({}, v / 3)}};
  s.optimizer = {{"exp_avg.blocks.0.w", at::full({3, 4}, v * 1e-3)},
                 {"exp_avg_sq.blocks.0.w", at::arange(v, v + 12).reshape({3, 4})}};
  s.state = Json::Object{{"applied", step - 1}, {"loss", v / 3}};
  s.model_metadata = {{"role", "model"}, {"variant", std::to_string(variant)}};
  s.ema_metadata = {{"role", "ema"}, {"threshold", "moving average"}};
  return s;
}

runs::CheckpointConfig keeping(int64_t last, int64_t every) {
  runs::CheckpointConfig config;
  config.keep_last = last;
  config.keep_every = every;
  return config;
}

std::string recipe_of_step(int64_t step) { return "name = \"step" + std::to_string(step) + "\"\n"; }

bool equal(const runs::Snapshot& a, const runs::Snapshot& b) {
  return a.step == b.step && equal(a.model, b.model) && equal(a.ema, b.ema) &&
         equal(a.optimizer, b.optimizer) && a.state.dump() == b.state.dump() &&
         a.model_metadata == b.model_metadata && a.ema_metadata == b.ema_metadata;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void put(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

}  // namespace gallop::training
