#pragma once

#include <cstdint>

#include "gallop/data/dataset.h"
#include "gallop/models/denoiser.h"

namespace gallop::testing {

/// The data set "synthetic" of these tests, made without files: sample i of a split is keyed noise
/// within [-1, 1], its label i modulo the classes.
struct SyntheticSettings : config::Fields<SyntheticSettings> {
  int64_t count = 40, test_count = 23, channels = 1, side = 8, classes = 3;
  bool latent = false;
  bool broken = false;  ///< cannot be opened
  void fields(config::Visitor& v) override;
};

data::DataConfig synthetic(const SyntheticSettings& settings = {});
data::DatasetInfo synthetic_info(const SyntheticSettings& settings = {});

}  // namespace gallop::testing
