#pragma once

#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::config {

/// One field of a config struct in a uniform shape, for everything that does not set it.
struct FieldInfo {
  std::string key, doc;
  std::string type;  ///< "integer", "list of floats", "table", "gate" (the category of a component)
  std::string limits;  ///< range or choices in words; may be empty
  Range range;         ///< of a number, or of each in a list
  std::string value;   ///< as TOML; empty: an absent optional, or a table
  bool optional = false;
  Effect effect = Effect::free;  ///< of a new value, and of the fields below where they say nothing
  Struct* table = nullptr;       ///< the nested struct; lives as long as the struct described
  Component* component = nullptr;
};

/// The fields in the order in which the struct lists them; `effect` is that of the field which
/// holds the struct.
std::vector<FieldInfo> describe(Struct& config, Effect effect = Effect::free);

/// Their keys only.
std::vector<std::string> keys_of(Struct& config);

}  // namespace gallop::config
