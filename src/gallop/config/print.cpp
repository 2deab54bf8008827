#include "gallop/config/print.h"

#include <algorithm>
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

struct Leaf {
  std::string path, value;
  Effect effect;
};

void flatten_into(Struct& config, const std::string& path, Effect effect, std::vector<Leaf>& out) {
  for (const auto& field : describe(config, effect)) {
    const auto here = path.empty() ? field.key : path + "." + field.key;
    if (!field.table) out.push_back({here, field.value, field.effect});
    if (field.table) flatten_into(*field.table, here, field.effect, out);
    if (field.component) flatten_into(field.component->settings(), here, field.effect, out);
  }
}

std::vector<Leaf> leaves(Struct& config) {
  std::vector<Leaf> out;
  flatten_into(config, "", Effect::free, out);
  return out;
}

}  // namespace

std::string to_toml(Struct& config, bool comments) {
  std::string out;
  section(config, "", nullptr, comments, "", out);
  return out;
}

std::vector<std::pair<std::string, std::string>> flatten(Struct& config) {
  std::vector<std::pair<std::string, std::string>> out;
  for (Leaf& leaf : leaves(config)) out.emplace_back(std::move(leaf.path), std::move(leaf.value));
  return out;
}

std::vector<Difference> differences(Struct& before, Struct& after) {
  const auto old_leaves = leaves(before), new_leaves = leaves(after);
  std::map<std::string, Difference> found;
  const auto value = [](const Leaf& leaf) {
    return leaf.value.empty() ? std::string("(none)") : leaf.value;
  };
  for (const Leaf& leaf : old_leaves) {
    found[leaf.path] = {leaf.path, value(leaf), "(none)", leaf.effect};
  }
  for (const Leaf& leaf : new_leaves) {
    Difference& difference =
        found.try_emplace(leaf.path, Difference{leaf.path, "(none)", {}, leaf.effect})
            .first->second;
    difference.after = value(leaf);
    difference.effect = std::max(difference.effect, leaf.effect);
  }
  std::vector<Difference> out;
  const auto report = [&](const std::string& path) {
    const auto difference = found.extract(path);
    if (!difference.empty() && difference.mapped().before != difference.mapped().after) {
      out.push_back(difference.mapped());
    }
  };
  for (const Leaf& leaf : old_leaves) report(leaf.path);
  for (const Leaf& leaf : new_leaves) report(leaf.path);
  return out;
}

}  // namespace gallop::config
