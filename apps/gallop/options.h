#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace gallop {

/// Adds `--set KEY=VALUE`, which may be repeated, to a subcommand that reads a recipe.
inline void add_overrides(CLI::App& command, std::vector<std::string>& overrides) {
  command
      .add_option("--set", overrides,
                  "change a key of the recipe, for example --set model.depth=6; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);  // one value each time: what follows is another argument
}

}  // namespace gallop
