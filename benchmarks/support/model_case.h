#pragma once

#include <benchmark/benchmark.h>

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

/// Registers run(state, case, kind) as "what/case/kind" for every case and kind, by the clock.
using RunCase = void (*)(benchmark::State& state, const ModelCase& c, const std::string& kind);
bool register_for_cases(const std::string& what, const std::vector<std::string>& kinds,
                        RunCase run);
/// What one iteration did.
void count_rates(benchmark::State& state, const ModelCase& c, double flops);

}  // namespace gallop::testing
