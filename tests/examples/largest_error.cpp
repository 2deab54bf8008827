#include "tests/examples/largest_error.h"

#include <algorithm>
#include <cmath>

#include "gallop/base/format.h"

namespace gallop::examples {

void LargestError::add(const tasks::Batch& batch, const tasks::Outcome& outcome) {
  const at::Tensor error_B = outcome.of_samples_B.at(0).second.sqrt();
  largest_ = std::max(largest_, error_B.max().item<double>());
  const at::Tensor x_B = batch.at("x").flatten(), y_B = outcome.extras.at("predicted").flatten();
  for (int64_t i = 0; i < batch.size(); ++i)
    points_.emplace_back(x_B[i].item<double>(), y_B[i].item<double>());
}

// Whole numbers alone go over: in millionths.
void LargestError::merge(const collectives::World& world) {
  int64_t millionths = std::llround(1e6 * largest_);
  world.collectives->largest(std::span(&millionths, 1));
  if (world.size > 1) largest_ = static_cast<double>(millionths) / 1e6;
}

tasks::Reading LargestError::read() const {
  auto sorted = points_;
  std::sort(sorted.begin(), sorted.end());
  formats::LinePlot plot{"x", "predicted", {}};
  for (const auto& [x, y] : sorted) plot.points.push_back({x, y, ""});
  return {.values = {{"largest_error", largest_}},
          .text = format("largest error %.4f", largest_),
          .artifacts = {{"curve", formats::Plot{"What the model has learned", {plot}}}}};
}

}  // namespace gallop::examples
