#include "gallop/runs/resume.h"

#include <algorithm>
#include <set>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/config/parse.h"
#include "gallop/config/print.h"
#include "gallop/config/value.h"
#include "gallop/data/identity.h"
#include "gallop/runs/run_directory.h"

namespace gallop::runs {
namespace {

bool is_below(const std::string& key, const std::string& table) {
  return key == table || (key.starts_with(table) && key[table.size()] == '.');
}

bool names(const std::vector<std::string>& allow, const std::string& key) {
  return std::any_of(allow.begin(), allow.end(),
                     [&](const std::string& name) { return is_below(key, name); });
}

// The name of now of a key that may have one of before.
std::string name_of_now(const std::string& name) {
  for (const auto& [from, to] : Recipe().layout()->renames) {
    if (is_below(name, from)) return to + name.substr(from.size());
  }
  return name;
}

}  // namespace

Recipe recipe_of(const fs::path& checkpoint) {
  Recipe recipe;
  config::load(recipe, checkpoint / recipe_file);
  return recipe;
}

void require_known_keys(const std::vector<std::string>& allow, const std::vector<Recipe*>& recipes,
                        const tasks::Task& task) {
  const std::vector<std::string> of_data = task.change_keys();
  std::set<std::string> known(of_data.begin(), of_data.end());
  for (Recipe* recipe : recipes) {
    for (const auto& [key, value] : config::flatten(*recipe)) {
      for (size_t end = key.find('.'); end != std::string::npos; end = key.find('.', end + 1)) {
        known.insert(key.substr(0, end));
      }
      known.insert(key);
    }
  }
  for (const std::string& name : allow) {
    require(known.contains(name) || known.contains(name_of_now(name)), "--allow ", name,
            ": there is no such key", config::did_you_mean(name, {known.begin(), known.end()}));
  }
}

namespace {

// What a checkpoint says of a split; nothing where it says nothing.
std::optional<Json> description_in(const formats::Metadata& metadata, const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end() || found->second.empty()) return {};
  return Json::parse(found->second, "metadata '" + std::string(key) + "' of the weights");
}

}  // namespace

ResumeChanges compare_with_checkpoint(const fs::path& checkpoint, const Snapshot& saved,
                                      ResumeRequest request) {
  Recipe before = recipe_of(checkpoint);
  require_known_keys(request.allow, {&before, &request.recipe}, request.task);
  std::vector<std::string> allow = request.allow;
  for (const std::string& name : request.allow) allow.push_back(name_of_now(name));
  ResumeChanges changes;
  // The default was false once: a recipe that says nothing must not change the run.
  if (!before.ema.warmup && request.recipe.ema.warmup && !names(allow, "ema.warmup")) {
    request.recipe.ema.warmup = false;
    log_info("ema.warmup stays false, as this run began (--allow ema.warmup changes it)");
  }
  std::string refused, hint;
  const auto refuse = [&](const std::string& key, const std::string& line) {
    refused += "\n  " + line;
    hint += " --allow " + key;
  };

  const tasks::Task& task = request.task;
  const auto data = description_in(saved.model_metadata, "data");
  auto held_out = description_in(saved.model_metadata, "held_out");
  if (request.recipe.eval.every == 0) held_out.reset();
  const bool same_data = data && task.same_data(tasks::Split::train, *data) &&
                         (!held_out || task.same_data(tasks::Split::held_out, *held_out));
  for (const config::Difference& difference : config::differences(before, request.recipe)) {
    const std::string &key = difference.key, line = difference.line();
    if (key == "name" || key == "out") continue;
    if (key == "task.data.source.path" && same_data) {
      changes.accepted.push_back(line + " (the same data)");
    } else if (difference.effect == config::Effect::state && !names(allow, key)) {
      refuse(key, line);
    } else {
      changes.accepted.push_back(line);
    }
  }

  std::vector<data::Change> found;
  if (data) found = task.changes(tasks::Split::train, *data);
  if (held_out) {
    const auto more = task.changes(tasks::Split::held_out, *held_out);
    found.insert(found.end(), more.begin(), more.end());
  }
  for (const data::Change& change : found) {
    if (names(allow, change.key)) {
      changes.accepted.push_back(change.text);
    } else if (change.means_other) {
      refuse(change.key, change.text);
    } else if (change.key.starts_with("data.held_out")) {
      changes.warnings.push_back(change.text +
                                 ": held-out losses are no longer comparable with those before");
    } else {
      changes.warnings.push_back(
          change.text +
          ": the order of the samples is another from here on, and where a share of "
          "them is held out, some of those may have been trained on");
    }
  }
  require(refused.empty(), "the checkpoint ", checkpoint.string(),
          " is of another recipe or other data, and this changes what its state means:", refused,
          "\nPut it back, start a new run with --out DIR, or accept what is meant with", hint, ".");
  return changes;
}

RunState state_of(const fs::path& checkpoint, const Snapshot& saved) {
  RunState state = RunState::from_json(saved.state);
  if (saved.state.find("samples") == nullptr) {
    const TrainConfig train = recipe_of(checkpoint).train;
    state.samples = state.step * train.batch * train.accumulate;
  }
  return state;
}

}  // namespace gallop::runs
