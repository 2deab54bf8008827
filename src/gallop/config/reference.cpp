#include "gallop/config/reference.h"

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/config/describe.h"
#include "gallop/config/registry.h"
#include "gallop/config/value.h"

namespace gallop::config {
namespace {

constexpr size_t width = 100;

std::string type_of(const FieldInfo& field) {
  return field.component ? "kind of " + field.type : field.type;
}

std::string default_of(const FieldInfo& field) {
  return field.value.empty() && field.optional ? "derived" : field.value;
}

/// The section of a table and those of the tables in it.
void add_tables(Struct& config, const std::string& path, const std::string& doc,
                std::vector<SectionReference>& out) {
  const auto fields = describe(config);
  SectionReference section{"", path, doc, "", {}};
  for (const auto& field : fields) {
    if (field.table) continue;
    section.keys.push_back({field.key, type_of(field), field.limits, default_of(field), field.doc});
  }
  out.push_back(std::move(section));
  for (const auto& field : fields) {
    const auto here = path.empty() ? field.key : path + "." + field.key;
    if (field.table) add_tables(*field.table, here, field.doc, out);
  }
}

/// The settings of a kind; keys of tables in them are dotted.
void add_keys(Struct& config, const std::string& path, std::vector<KeyReference>& out) {
  for (const auto& field : describe(config)) {
    const auto here = path.empty() ? field.key : path + "." + field.key;
    if (field.table) {
      add_keys(*field.table, here, out);
    } else {
      out.push_back({here, type_of(field), field.limits, default_of(field), field.doc});
    }
  }
}

std::string facts(const KeyReference& key) {
  auto text = key.type;
  if (!key.limits.empty()) text += ", " + key.limits;
  return text + ", default " + key.default_value;
}

std::string indented(const std::string& text, size_t indent) {
  std::string result;
  for (const auto& line : wrap(text, width - indent)) {
    result += std::string(indent, ' ') + line + "\n";
  }
  return result;
}

std::string padded(const std::string& text, size_t to) {
  return text + std::string(to > text.size() ? to - text.size() : 0, ' ');
}

/// A text in Markdown, as part of a line or of a table.
std::string cell(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '<') result += '\\';
    result += c;
  }
  return result;
}

std::string with_paper(const std::string& summary, const std::string& paper) {
  return paper.empty() ? summary : summary + " [" + paper + "]";
}

/// The categories to list; throws Error for an unknown one.
std::vector<std::string> wanted(const std::string& category) {
  auto known = component_categories();
  if (category.empty()) return known;
  require(std::find(known.begin(), known.end(), category) != known.end(),
          "unknown component category '", category, "'", did_you_mean(category, known),
          " (known: ", quoted_list(known), ")");
  return {category};
}

}  // namespace

std::vector<SectionReference> reference(Struct& config) {
  std::vector<SectionReference> out;
  add_tables(config, "", "", out);
  for (const auto& category : component_categories()) {
    for (const auto* info : components_of(category)) {
      SectionReference section{category, info->kind, info->summary, info->paper, {}};
      const auto settings = info->make_settings();
      add_keys(*settings, "", section.keys);
      out.push_back(std::move(section));
    }
  }
  return out;
}

std::string reference_text(Struct& config) {
  std::string out;
  std::string category;
  for (const auto& section : reference(config)) {
    const bool kind = !section.category.empty();
    if (!out.empty()) out += "\n";
    if (kind && section.category != category) {
      category = section.category;
      out += "== kinds of " + category + " ==\n\n";
    }
    if (kind) {
      out += "kind = " + to_text(section.name) + "\n";
    } else {
      out += section.name.empty() ? "top of the recipe\n" : "[" + section.name + "]\n";
    }
    const auto doc = with_paper(section.doc, section.paper);
    if (!doc.empty()) out += indented(doc, 2);
    for (const auto& key : section.keys) {
      out += indented(key.key + ": " + facts(key), 4) + indented(key.doc, 8);
    }
  }
  return out;
}

std::string reference_markdown(Struct& config) {
  std::string out =
      "# Keys of a recipe\n\n"
      "Written by `gallop config --reference --markdown`. A key stands in its table, or comes "
      "from\n"
      "`--set table.key=value`. A kind is chosen by its name, `gate = \"softmax\"`, or as a table "
      "of\n"
      "`kind` and its settings. `base = \"other.toml\"` inherits from another recipe.\n";
  std::string category;
  for (const auto& section : reference(config)) {
    const bool kind = !section.category.empty();
    if (kind && section.category != category) {
      category = section.category;
      out += "\n## Kinds of " + category + "\n";
    }
    if (kind) {
      out += "\n### `" + section.name + "`\n";
    } else {
      out += section.name.empty() ? "\n## Top of the recipe\n" : "\n## `[" + section.name + "]`\n";
    }
    const auto doc = with_paper(section.doc, section.paper);
    if (!doc.empty()) out += "\n" + cell(doc) + "\n";
    if (section.keys.empty()) continue;
    out += "\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
    for (const auto& key : section.keys) {
      out += "| `" + key.key + "` | " + key.type + " | `" + cell(key.default_value) + "` | " +
             cell(key.limits) + " | " + cell(key.doc) + " |\n";
    }
  }
  return out;
}

std::string component_text(const std::string& category) {
  size_t longest = 0;
  for (const auto& name : wanted(category)) {
    for (const auto* info : components_of(name)) longest = std::max(longest, info->kind.size());
  }
  std::string out;
  for (const auto& name : wanted(category)) {
    out += (out.empty() ? "" : "\n") + name + "\n";
    for (const auto* info : components_of(name)) {
      out +=
          "  " + padded(info->kind, longest) + "  " + with_paper(info->summary, info->paper) + "\n";
    }
  }
  return out;
}

std::string component_markdown(const std::string& category) {
  std::string out = category.empty() ? "# Table of components\n\n"
                                       "Written by `gallop components --markdown`.\n\n"
                                     : "";
  out += "| category | kind | what it is | paper |\n|---|---|---|---|\n";
  for (const auto& name : wanted(category)) {
    for (const auto* info : components_of(name)) {
      out += "| " + name + " | `" + info->kind + "` | " + cell(info->summary) + " | " +
             cell(info->paper) + " |\n";
    }
  }
  return out;
}

}  // namespace gallop::config
