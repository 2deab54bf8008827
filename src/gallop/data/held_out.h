#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::data {

/// Where data have no test split of their own, a share of them becomes one: of the samples in file
/// order those at 0, n, 2n, ... with n = 1 / share, rounded. Which ones depends on nothing else.
struct HeldOut {
  double share = 0.05;

  /// Lists the field `held_out`.
  void field(config::Visitor& v);
  int64_t every() const;
  /// The positions of the split "train" or "test" among `count` samples, in order.
  std::vector<int64_t> positions(int64_t count, const std::string& split) const;
};

}  // namespace gallop::data
