#pragma once

#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::config {

/// The documentation of one key.
struct KeyReference {
  std::string key, type, limits, default_value, doc;
};

/// A table of the recipe, or a kind of a component with its settings.
struct SectionReference {
  std::string category;  ///< of a kind; empty for a table
  std::string name;      ///< "model.mlp", empty for the top of the recipe; or the kind
  std::string doc, paper;
  std::vector<KeyReference> keys;
};

/// All tables of a recipe in order, then all registered kinds by category and name. Both layouts
/// below are made of this list, so that none can lack a key.
std::vector<SectionReference> reference(Struct& config);

/// For a terminal, at most 100 columns.
std::string reference_text(Struct& config);
std::string reference_markdown(Struct& config);

/// One line a registered kind: name, summary, paper. `category` empty: all. Throws Error naming the
/// nearest known category for an unknown one.
std::string component_text(const std::string& category = "");
std::string component_markdown(const std::string& category = "");

}  // namespace gallop::config
