#pragma once

#include <string>
#include <vector>

namespace gallop::sparse {

/// What a part cannot do without, and what the others of its layer show.
struct Shown {
  std::vector<std::string> needed, shown;
  std::string by;  ///< who shows: "neither the router 'linear' nor the gate 'softmax' shows"
};

/// Throws Error for what is needed and not shown, with the layer, `part` ("the selection
/// 'positive'") and `advice`, which ends the message.
void require_shown(const std::string& layer, const std::string& part, const Shown& what,
                   const std::string& advice);

}  // namespace gallop::sparse
