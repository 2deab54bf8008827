#pragma once

#include <cstdint>

#include "gallop/config/schema.h"
#include "gallop/data/dataset.h"

namespace gallop::test {

/// The kind "test-counting": sample i is [1, 2, 3] values i + 0.0, i + 0.1, ... in the order of
/// memory, labelled i; its path is the split.
struct CountingSettings : config::Fields<CountingSettings> {
  int64_t count = 10;
  int64_t broken = -1;  ///< reading this one throws
  bool labels = true, latent = false;
  void fields(config::Visitor& v) override;
};

}  // namespace gallop::test
