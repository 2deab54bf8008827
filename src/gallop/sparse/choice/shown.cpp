#include "gallop/sparse/choice/shown.h"

#include <algorithm>

#include "gallop/base/error.h"

namespace gallop::sparse {

void require_shown(const std::string& layer, const std::string& part, const Shown& what,
                   const std::string& advice) {
  for (const std::string& needed : what.needed) {
    require(std::find(what.shown.begin(), what.shown.end(), needed) != what.shown.end(), layer,
            ": ", part, " needs ", needed, ", which ", what.by, "; ", advice);
  }
}

}  // namespace gallop::sparse
