#pragma once

#include <cstdint>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::test {

/// A data set of kind "toy" for tests of what stands above the data: `count` one-channel images of
/// side x side, a bright bar whose place tells the class, with noise keyed by the index. Samples
/// named in `poisoned` hold a NaN; all are multiplied by `loudness`.
struct ToyDatasetSettings : config::Fields<ToyDatasetSettings> {
  int64_t count = 64, side = 8, classes = 3;
  std::vector<int64_t> poisoned;
  double loudness = 1;
  void fields(config::Visitor& v) override;
};

}  // namespace gallop::test
