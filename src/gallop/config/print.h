#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::config {

/// The whole tree as TOML that loads back to the same values: plain fields first, then one
/// [section] a table and a component with settings. An absent optional is a comment. With
/// `comments` each key stands below its documentation.
std::string to_toml(Struct& config, bool comments = false);

/// Every field as (path, value as TOML) in the order of the structs; a component is its kind,
/// followed by its settings; the value of an absent optional is empty. Usable as overrides in this
/// order.
std::vector<std::pair<std::string, std::string>> flatten(Struct& config);

/// A field that two trees have with different values, or that only one of them has.
struct Difference {
  std::string key;
  std::string before, after;  ///< as TOML; "(none)" where there is none
  Effect effect = Effect::free;
  std::string line() const { return key + ": " + before + " -> " + after; }
};

/// What differs, in the order of the structs.
std::vector<Difference> differences(Struct& before, Struct& after);

}  // namespace gallop::config
