#include "gallop/config/print.h"

#include <map>

#include "gallop/config/describe.h"
#include "gallop/config/value.h"

namespace gallop::config {
namespace {

constexpr size_t width = 100;

/// "# doc (limits)" in as many lines as it takes.
std::string comment(const FieldInfo& field) {
  auto text = field.doc;
  if (!field.limits.empty()) text += " (" + field.limits + ")";
  std::string result;
  for (const auto& line : wrap(text, width - 2)) result += "# " + line + "\n";
  return result;
}

/// `kind` is set for the settings of a component.
void section(Struct& config, const std::string& path, const Component* kind, bool comments,
             const std::string& doc, std::string& out) {
  const auto fields = describe(config);
  if (!path.empty()) {
    if (!out.empty()) out += "\n";
    out += doc + "[" + path + "]\n";
  }
  if (kind) out += "kind = " + to_text(kind->kind()) + "\n";
  for (const auto& field : fields) {
    const bool nested =
        field.table || (field.component && !describe(field.component->settings()).empty());
    if (nested) continue;
    if (comments) out += comment(field);
    if (field.value.empty()) {
      out += "# " + field.key + " = (derived from other fields)\n";
    } else {
      out += field.key + " = " + field.value + "\n";
    }
  }
  for (const auto& field : fields) {
    const auto here = path.empty() ? field.key : path + "." + field.key;
    const auto above = comments ? comment(field) : "";
    if (field.table) section(*field.table, here, nullptr, comments, above, out);
    if (field.component && !describe(field.component->settings()).empty()) {
      section(field.component->settings(), here, field.component, comments, above, out);
    }
  }
}

void flatten_into(Struct& config, const std::string& path,
                  std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& field : describe(config)) {
    const auto here = path.empty() ? field.key : path + "." + field.key;
    if (!field.table) out.emplace_back(here, field.value);
    if (field.table) flatten_into(*field.table, here, out);
    if (field.component) flatten_into(field.component->settings(), here, out);
  }
}

}  // namespace

std::string to_toml(Struct& config, bool comments) {
  std::string out;
  section(config, "", nullptr, comments, "", out);
  return out;
}

std::vector<std::pair<std::string, std::string>> flatten(Struct& config) {
  std::vector<std::pair<std::string, std::string>> out;
  flatten_into(config, "", out);
  return out;
}

std::vector<std::string> differences(Struct& before, Struct& after) {
  const auto old_list = flatten(before), new_list = flatten(after);
  const std::map<std::string, std::string> old_values(old_list.begin(), old_list.end());
  const std::map<std::string, std::string> new_values(new_list.begin(), new_list.end());
  const auto value = [](const auto& values, const std::string& key) {
    const auto found = values.find(key);
    return found == values.end() || found->second.empty() ? std::string("(none)") : found->second;
  };
  std::vector<std::string> out;
  const auto compare = [&](const std::string& key) {
    const auto was = value(old_values, key), is = value(new_values, key);
    if (was != is) out.push_back(key + ": " + was + " -> " + is);
  };
  for (const auto& item : old_list) compare(item.first);
  for (const auto& item : new_list) {
    if (!old_values.count(item.first)) compare(item.first);
  }
  return out;
}

}  // namespace gallop::config
