#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/config/parse.h"
#include "gallop/data/dataset.h"

namespace gallop::test {

/// The data set of `source = { SETTINGS }` in a [data] table.
inline std::unique_ptr<data::Dataset> open_source(const std::string& settings,
                                                  const data::Dataset::Args& args = {}) {
  data::DataConfig config;
  config::load_text(config, "source = { " + settings + " }", "a recipe");
  return data::open_dataset(config, args);
}

/// What is wrong with it; empty: nothing.
inline std::string source_error(const std::string& settings, const data::Dataset::Args& args = {}) {
  try {
    open_source(settings, args);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline std::vector<float> sample_of(const data::Dataset& dataset, int64_t index) {
  const data::DatasetInfo& info = dataset.info();
  std::vector<float> sample(static_cast<size_t>(info.channels * info.height * info.width));
  dataset.read(index, sample);
  return sample;
}

}  // namespace gallop::test
