#include "gallop/tasks/meters/sample_losses.h"

#include <ATen/core/Tensor.h>

#include "gallop/base/error.h"
#include "gallop/base/format.h"
#include "gallop/tasks/report.h"

namespace gallop::tasks {

void SampleLosses::add(const Batch& batch, const Outcome& outcome) {
  const auto& losses = outcome.of_samples_B;
  if (names_.empty()) {
    for (const auto& [name, loss_B] : losses) names_.push_back(name);
    sums_.resize(names_.size());
  }
  require(losses.size() == names_.size(), "a batch has ", losses.size(),
          " losses of its samples, those before it had ", names_.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    sums_[i] += losses[i].second.to(at::kDouble).sum().item<double>();
  }
  samples_ += batch.size();
}

void SampleLosses::merge(const collectives::World& world) {
  world.collectives->sum(sums_);
  world.collectives->sum(std::span(&samples_, 1));
}

std::vector<std::pair<std::string, double>> SampleLosses::means() const {
  std::vector<std::pair<std::string, double>> means;
  for (size_t i = 0; i < names_.size(); ++i) {
    means.emplace_back(names_[i], sums_[i] / static_cast<double>(samples_));
  }
  return means;
}

double SampleLosses::main() const {
  require(!names_.empty(), "no sample of the evaluation had a loss");
  return means().front().second;
}

Reading SampleLosses::read() const {
  Reading reading;
  for (const auto& [name, mean] : means()) {
    reading.values.emplace_back(logged_name(name), mean);
    reading.text += (reading.text.empty() ? "" : " ") + name + format(" %.4f", mean);
  }
  return reading;
}

}  // namespace gallop::tasks
