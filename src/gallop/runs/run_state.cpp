#include "gallop/runs/run_state.h"

#include <limits>
#include <utility>

#include "gallop/base/error.h"

namespace gallop::runs {

Json to_json(const std::map<std::string, double>& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = value;
  return json;
}

std::map<std::string, double> numbers_from_json(const Json& json) {
  std::map<std::string, double> values;
  for (const auto& [name, value] : json.as_object()) {
    // JSON has null for a number that was not finite.
    values[name] = value.is_number() ? value.as_double() : std::numeric_limits<double>::quiet_NaN();
  }
  return values;
}

namespace {

// The activities' state in checkpoints from before they had names of their own.
std::map<std::string, Json> activities_of_old(const Json& json, int64_t step) {
  std::map<std::string, Json> activities;
  const auto put = [&](const char* activity, const char* key, const Json& value) {
    const auto [found, is_new] = activities.try_emplace(activity, Json::object());
    found->second[key] = value;
  };
  put("log", "summed_steps", json.at("summed_steps"));
  put("log", "sums", json.at("sums"));
  // Those from before these were kept were written after both.
  for (const auto& [activity, key] : {std::pair("evaluate", "evaluated"), {"generate", "drawn"}}) {
    const Json* done = json.find(key);
    put(activity, "step", done != nullptr ? *done : Json(step));
  }
  return activities;
}

}  // namespace

Json RunState::to_json() const {
  // A new member does not compile until it is named here; then write and read it below.
  [[maybe_unused]] const auto& [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = *this;
  Json json = Json::object();
  json["step"] = step;
  json["applied"] = applied;
  json["skipped"] = skipped;
  json["skipped_in_row"] = skipped_in_row;
  json["skipped_spikes"] = skipped_spikes;
  json["spikes"] = spikes.to_json();
  json["samples"] = samples;
  json["replaced"] = replaced;
  json["seconds"] = seconds;
  json["activities"] = Json::object();
  for (const auto& [name, value] : activities) json["activities"][name] = value;
  json["exact_thresholds"] = exact_thresholds;
  json["environment"] = Json::object();
  for (const auto& [name, value] : environment) json["environment"][name] = value;
  return json;
}

RunState RunState::from_json(const Json& json) {
  RunState state;
  state.step = json.at("step").as_int();
  state.applied = json.at("applied").as_int();
  state.skipped = json.at("skipped").as_int();
  state.skipped_in_row = json.at("skipped_in_row").as_int();
  // Checkpoints from before these were kept have none.
  if (const Json* count = json.find("skipped_spikes")) state.skipped_spikes = count->as_int();
  if (const Json* spikes = json.find("spikes")) state.spikes = SpikeStatistics::from_json(*spikes);
  // Where it is missing, see state_of (runs/resume.h).
  if (const Json* count = json.find("samples")) state.samples = count->as_int();
  if (const Json* count = json.find("replaced")) state.replaced = count->as_int();
  state.seconds = json.at("seconds").as_double();
  if (const Json* activities = json.find("activities")) {
    for (const auto& [name, value] : activities->as_object()) state.activities[name] = value;
  } else {
    state.activities = activities_of_old(json, state.step);
  }
  state.exact_thresholds = json.at("exact_thresholds").as_bool();
  if (const Json* environment = json.find("environment")) {
    for (const auto& [name, value] : environment->as_object()) {
      state.environment[name] = value.as_string();
    }
  }
  require(state.samples >= 0 && state.replaced >= 0, "state.json: ", state.samples, " samples and ",
          state.replaced, " replaced ones: neither can be below 0");
  require(state.step >= 0 && state.applied + state.skipped == state.step,
          "state.json: ", state.applied, " applied and ", state.skipped,
          " skipped steps do not make the ", state.step, " steps it claims");
  return state;
}

}  // namespace gallop::runs
