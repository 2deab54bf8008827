#include "gallop/inspection/run_summary.h"

#include <limits>
#include <map>
#include <set>
#include <string_view>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/json.h"
#include "gallop/config/describe.h"
#include "gallop/config/print.h"

namespace gallop::inspection {
namespace {

LogLine parse_line(std::string_view text) {
  const Json json = Json::parse(text, "log.jsonl");
  LogLine line;
  line.step = json.at("step").as_int();
  line.kind = json.at("kind").as_string();
  for (const auto& [name, value] : json.as_object()) {
    if (name == "step" || name == "time" || name == "kind") continue;
    if (value.is_null()) line.values.emplace_back(name, std::numeric_limits<double>::quiet_NaN());
    if (value.is_number()) line.values.emplace_back(name, value.as_double());
  }
  return line;
}

std::string find(const formats::Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string() : found->second;
}

uint64_t bytes_in(const std::filesystem::path& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code unknown;
    const uintmax_t size = entry->file_size(unknown);
    if (!unknown) bytes += size;
  }
  return bytes;
}

}  // namespace

std::vector<LogLine> read_log(const std::filesystem::path& path) {
  std::vector<LogLine> lines;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return lines;
  const std::string text = read_file(path);
  for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    try {
      lines.push_back(parse_line(std::string_view(text).substr(begin, end - begin)));
    } catch (const Error&) {  // a log is no reason not to show the rest
    }
  }
  return lines;
}

std::vector<CheckedCheckpoint> check_checkpoints(const std::filesystem::path& run) {
  std::vector<CheckedCheckpoint> checked;
  for (const runs::SavedCheckpoint& saved : runs::CheckpointStore(run, {}).all()) {
    CheckedCheckpoint& entry = checked.emplace_back();
    entry.saved = saved;
    entry.bytes = bytes_in(saved.path);
    try {
      runs::verify_checkpoint(saved.path);
      entry.not_finite = runs::non_finite_values(saved.path);
    } catch (const Error& error) {
      entry.damage = error.what();
    }
  }
  return checked;
}

const CheckedCheckpoint* best_of(const std::vector<CheckedCheckpoint>& checkpoints) {
  const CheckedCheckpoint* whole = nullptr;
  for (const CheckedCheckpoint& checkpoint : checkpoints) {
    if (!checkpoint.damage.empty()) continue;
    if (checkpoint.not_finite.empty()) return &checkpoint;
    if (whole == nullptr) whole = &checkpoint;
  }
  return whole;
}

std::vector<std::pair<std::string, std::string>> main_settings(runs::Recipe& recipe) {
  // A table or a component of the recipe is a section, and so is each of the task's own.
  std::vector<std::string> sections;
  for (const config::FieldInfo& field : config::describe(recipe)) {
    if (field.table == nullptr && field.component == nullptr) continue;
    sections.push_back(field.key);
    if (field.key != "task") continue;
    for (const config::FieldInfo& part : config::describe(recipe.task.settings())) {
      if (part.table != nullptr || part.component != nullptr)
        sections.push_back("task." + part.key);
    }
  }
  const auto section_of = [&](const std::string& path) {
    std::string found;
    for (const std::string& section : sections) {
      const bool inside = path == section || path.starts_with(section + ".");
      if (inside && section.size() > found.size()) found = section;
    }
    return found;
  };
  // Sections in which all is as it is by default say nothing of a run.
  runs::Recipe usual;
  usual.task = config::Component("task", recipe.task.kind());
  std::set<std::string> own = {"task", "train"};
  for (const config::Difference& difference : config::differences(usual, recipe)) {
    own.insert(section_of(difference.key));
  }
  std::map<std::string, std::string> lines;
  for (const auto& [path, value] : config::flatten(recipe)) {
    const std::string section = section_of(path);
    if (section.empty() || value.empty() || !own.contains(section)) continue;
    std::string& line = lines[section];
    line += (line.empty() ? "" : ", ") +
            (path == section ? value : path.substr(section.size() + 1) + "=" + value);
  }
  std::vector<std::pair<std::string, std::string>> in_order;
  for (const std::string& section : sections) {
    if (lines.contains(section)) in_order.emplace_back(section, lines.at(section));
  }
  return in_order;
}

std::string role_text(const formats::Metadata& metadata) {
  const std::string role = find(metadata, "role"), step = find(metadata, "step"),
                    decay = find(metadata, "decay");
  std::string text = role;
  if (role == "ema") text = decay.empty() ? "EMA" : "EMA (decay " + decay + ")";
  if (role == "model") text = "raw";
  if (!text.empty() && !step.empty()) text += " of step " + step;
  return text;
}

std::string threshold_text(const formats::Metadata& metadata) {
  const std::string kind = find(metadata, "threshold");
  if (kind == "exact") return "exact: the (1 - k/E) quantile of these weights' own scores";
  if (kind == "moving average") return "moving average over the training batches";
  if (kind == "none") return "none: no layer has one";
  return kind;
}

}  // namespace gallop::inspection
