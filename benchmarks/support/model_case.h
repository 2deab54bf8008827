#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gallop/models/model.h"

namespace gallop::testing {

/// A whole model for the benchmarks, as in benchmarks/peers/race_dit.py.
struct ModelCase {
  const char* name;
  const char* model;    ///< TOML of [model]
  std::string setting;  ///< "k-in-E"; empty: dense
  int64_t image, channels, batch;
};

const std::vector<ModelCase>& model_cases();

/// The model of a case; nothing is allocated yet.
std::unique_ptr<models::Model> make_model(const ModelCase& c);

}  // namespace gallop::testing
