#include "gallop/data/held_out.h"

#include <cmath>

namespace gallop::data {

void HeldOut::field(config::Visitor& v) {
  v.field(
      "held_out", share,
      "share of the samples that is the test split where the data have none: every n-th in file "
      "order from the first, n = 1 / share rounded",
      {.min = 0, .max = 0.5, .open_min = true});
}

int64_t HeldOut::every() const { return std::llround(1.0 / share); }

std::vector<int64_t> HeldOut::positions(int64_t count, const std::string& split) const {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i)
    if ((i % every() == 0) == (split == "test")) result.push_back(i);
  return result;
}

}  // namespace gallop::data
