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

/// What differs, one line a key: "train.lr: 0.001 -> 0.002", with "(none)" on the side that lacks
/// it.
std::vector<std::string> differences(Struct& before, Struct& after);

}  // namespace gallop::config
