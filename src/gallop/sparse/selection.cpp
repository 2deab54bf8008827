#include "gallop/sparse/selection.h"

#include <cmath>

#include "gallop/base/error.h"

namespace gallop::sparse {

int64_t whole_active(const std::string& name, double active) {
  require(active >= 1 && std::floor(active) == active, name,
          ": a token makes a whole number of choices here, got ", active,
          " active; the selections race, expert, le, bl and be take fractions");
  return static_cast<int64_t>(active);
}

std::optional<int64_t> Selection::kept_pairs(int64_t) const { return std::nullopt; }

at::Tensor Selection::exact_threshold(const at::Tensor&, std::optional<double>) const {
  fail(name(), ": this selection has no threshold to calibrate");
}

}  // namespace gallop::sparse
