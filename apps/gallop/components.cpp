// gallop components: every part that a recipe can choose, a line each.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "gallop/command.h"
#include "gallop/config/reference.h"

namespace gallop {
namespace {

struct ComponentsOptions {
  std::string category;
  bool markdown = false;
};

const Command registered{[](CLI::App& app) {
  const auto options = std::make_shared<ComponentsOptions>();
  CLI::App* command = app.add_subcommand(
      "components",
      "list every registered gate, selection, router, expert kind, sampler, ..., with its paper");
  command->add_option("category", options->category, "list one category only, for example gate");
  command->add_flag("--markdown", options->markdown, "as a table in Markdown");
  command->callback([options] {
    std::fputs((options->markdown ? config::component_markdown(options->category)
                                  : config::component_text(options->category))
                   .c_str(),
               stdout);
  });
}};

}  // namespace
}  // namespace gallop
