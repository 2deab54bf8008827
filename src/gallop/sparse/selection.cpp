#include "gallop/sparse/selection.h"

#include "gallop/base/error.h"

namespace gallop::sparse {

std::optional<int64_t> Selection::kept_pairs(int64_t) const { return std::nullopt; }

at::Tensor Selection::exact_threshold(const at::Tensor&, std::optional<double>) const {
  fail(name(), ": this selection has no threshold to calibrate");
}

}  // namespace gallop::sparse
