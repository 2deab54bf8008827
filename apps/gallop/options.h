#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/config/parse.h"
#include "gallop/runs/recipe.h"

namespace gallop {

/// Adds `--set KEY=VALUE`, which may be repeated, to a subcommand that reads a recipe.
inline void add_overrides(CLI::App& command, std::vector<std::string>& overrides) {
  command
      .add_option(
          "--set", overrides,
          "change a key of the recipe, for example --set task.model.depth=6; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);  // one value each time: what follows is another argument
}

/// Throws Error if the overrides say one of these keys, which `option` says too.
inline void require_not_set(const std::vector<std::string>& overrides, const std::string& option,
                            const std::vector<std::string>& keys) {
  for (const std::string& path : config::keys_of_overrides(overrides, runs::Recipe().layout())) {
    require(std::find(keys.begin(), keys.end(), path) == keys.end(), option, " and --set ", path,
            " say the same thing: give one of the two");
  }
}

/// Adds what an option says of a key of the recipe to its overrides. `value` is TOML.
inline void override_by_option(std::vector<std::string>& overrides, const std::string& option,
                               const std::string& key, const std::string& value) {
  require_not_set(overrides, option, {key});
  overrides.push_back(key + "=" + value);
}

}  // namespace gallop
