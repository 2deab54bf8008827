// gallop config: a recipe as resolved, or the documentation of all keys.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/command.h"
#include "gallop/config/print.h"
#include "gallop/config/reference.h"
#include "gallop/options.h"
#include "gallop/runs/recipe.h"

namespace gallop {
namespace {

struct ConfigOptions {
  std::string recipe;
  std::vector<std::string> overrides;
  bool comments = false, reference = false, markdown = false;
};

void print_config(const ConfigOptions& options) {
  std::string text;
  if (options.reference) {
    runs::Recipe recipe;
    text = options.markdown ? config::reference_markdown(recipe) : config::reference_text(recipe);
  } else {
    require(!options.recipe.empty(),
            "config needs a recipe, or --reference for the documentation of all keys");
    runs::Recipe recipe = runs::load_recipe(options.recipe, options.overrides);
    text = config::to_toml(recipe, options.comments);
  }
  std::fputs(text.c_str(), stdout);
}

const Command registered{[](CLI::App& app) {
  const auto options = std::make_shared<ConfigOptions>();
  CLI::App* command = app.add_subcommand(
      "config", "print a recipe as resolved, all defaults included, or document all keys");
  CLI::Option* recipe = command->add_option("recipe", options->recipe, "recipe in TOML");
  add_overrides(*command, options->overrides);
  command->add_flag("--comments", options->comments, "write its documentation above every key");
  CLI::Option* reference =
      command->add_flag("--reference", options->reference, "document all keys of a recipe")
          ->excludes(recipe);
  command->add_flag("--markdown", options->markdown, "the documentation as Markdown")
      ->needs(reference);
  command->callback([options] { print_config(*options); });
}};

}  // namespace
}  // namespace gallop
