#include "gallop/tasks/task.h"

#include <set>

#include "gallop/base/error.h"
#include "gallop/tasks/meters/routing.h"
#include "gallop/tasks/meters/sample_losses.h"

namespace gallop::tasks {
namespace {

std::string shown(const Json* value) { return value == nullptr ? "(none)" : value->dump(); }

}  // namespace

std::vector<data::Change> Task::changes(Split split, const Json& before) const {
  const Json now = description(split);
  const std::string prefix = split == Split::train ? "data." : "data.held_out.";
  std::set<std::string> keys;
  for (const Json* json : {&before, &now}) {
    for (const auto& [key, value] : json->as_object()) keys.insert(key);
  }
  std::vector<data::Change> changes;
  for (const std::string& key : keys) {
    const std::string was = shown(before.find(key)), is = shown(now.find(key));
    if (was == is) continue;
    changes.push_back({.key = prefix + key,
                       .text = prefix + key + ": " + was + " -> " + is,
                       .means_other = true});
  }
  return changes;
}

bool Task::same_data(Split split, const Json& before) const {
  return description(split).dump() == before.dump();
}

std::vector<std::string> Task::change_keys() const {
  std::vector<std::string> keys;
  for (const auto& [split, prefix] :
       {std::pair(Split::train, "data."), std::pair(Split::held_out, "data.held_out.")}) {
    const Json now = description(split);
    for (const auto& [key, value] : now.as_object()) keys.push_back(prefix + key);
  }
  return keys;
}

std::vector<std::unique_ptr<Meter>> Task::meters(const models::Model& model) const {
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(std::make_unique<SampleLosses>());
  meters.push_back(std::make_unique<RoutingMeter>(model));
  return meters;
}

const Generator& require_generator(const Task& task, const std::string& kind) {
  const Generator* generator = task.generator();
  require(generator != nullptr, "the task '", kind,
          "' generates nothing: there is nothing to sample; `gallop train` evaluates it");
  return *generator;
}

}  // namespace gallop::tasks
