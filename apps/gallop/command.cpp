#include "gallop/command.h"

#include <utility>

namespace gallop {

std::vector<AddCommand>& commands() {
  static std::vector<AddCommand> instance;
  return instance;
}

Command::Command(AddCommand add) { commands().push_back(std::move(add)); }

}  // namespace gallop
