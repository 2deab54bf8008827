#pragma once

#include <functional>
#include <vector>

namespace CLI {
class App;
}

namespace gallop {

/// Ends the program with a status other than 0 without an error message (`--check` that failed).
struct Exit {
  int status;
};

/// A subcommand adds itself to the program: options, description and the callback that runs it.
using AddCommand = std::function<void(CLI::App&)>;

/// All subcommands in the order of `--help`.
std::vector<AddCommand>& commands();

/// Registers a subcommand from its own source file: `const Command registered{[](CLI::App& app)
/// {...}};`
struct Command {
  explicit Command(AddCommand add);
};

}  // namespace gallop
