#include "gallop/setting_options.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "gallop/config/registry.h"
#include "gallop/config/value.h"
#include "gallop/number_options.h"

namespace gallop {
namespace {

WholeRange<int64_t> whole(const config::Range& range) {
  WholeRange<int64_t> whole;
  if (std::isfinite(range.min)) whole.min = static_cast<int64_t>(range.min);
  if (std::isfinite(range.max)) whole.max = static_cast<int64_t>(range.max);
  return whole;
}

}  // namespace

struct SettingOptions::Option {
  std::string key;
  bool component = false;
  std::optional<int64_t> integer;
  std::optional<double> number;
  std::optional<std::string> text;
  std::vector<std::string> texts;
};

std::string option_of(const std::string& key) {
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

void SettingOptions::add(CLI::App& command, const std::vector<config::FieldInfo>& fields,
                         const std::vector<std::string>& without) {
  for (const config::FieldInfo& field : fields) {
    if (std::find(without.begin(), without.end(), field.key) != without.end()) continue;
    auto option = std::make_shared<Option>();
    option->key = field.key;
    option->component = field.component != nullptr;
    const std::string name = option_of(field.key);
    if (field.type == "integer") {
      add_whole_number(command, name, option->integer, field.doc, whole(field.range));
    } else if (field.type == "float") {
      add_number(command, name, option->number, field.doc, field.range);
    } else if (field.type == "string" || option->component) {
      command.add_option(name, option->text,
                         field.doc + (field.limits.empty() ? "" : " (" + field.limits + ")"));
    } else if (field.type == "list of strings") {
      command.add_option(name, option->texts, field.doc + "; may be repeated")
          ->type_name("TEXT")
          ->allow_extra_args(false);
    } else {
      continue;
    }
    options_.push_back(std::move(option));
  }
}

std::vector<std::pair<std::string, std::string>> SettingOptions::given() const {
  std::vector<std::pair<std::string, std::string>> given;
  for (const auto& option : options_) {
    if (option->integer) given.emplace_back(option->key, config::to_text(*option->integer));
    if (option->number) given.emplace_back(option->key, config::to_text(*option->number));
    if (option->text) given.emplace_back(option->key, config::to_text(*option->text));
    if (!option->texts.empty()) given.emplace_back(option->key, config::to_text(option->texts));
  }
  return given;
}

std::vector<config::FieldInfo> settings_of_generators() {
  std::vector<config::FieldInfo> all;
  for (const config::ComponentInfo* task : config::components_of("task")) {
    const auto settings = task->make_settings();
    for (const config::FieldInfo& table : config::describe(*settings)) {
      if (table.key != "sample" || table.table == nullptr) continue;
      for (config::FieldInfo& field : config::describe(*table.table)) {
        const bool known = std::any_of(all.begin(), all.end(),
                                       [&](const auto& other) { return other.key == field.key; });
        if (!known) all.push_back(std::move(field));
      }
    }
  }
  return all;
}

}  // namespace gallop
