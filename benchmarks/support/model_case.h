#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gallop/base/thread_pool.h"
#include "gallop/models/denoiser.h"

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
std::unique_ptr<models::Denoiser> make_model(const ModelCase& c);

/// Registers run(state, case, kind) as "what/case/kind" for every case and kind, by the clock.
using RunCase = void (*)(benchmark::State& state, const ModelCase& c, const std::string& kind);
bool register_for_cases(const std::string& what, const std::vector<std::string>& kinds,
                        RunCase run);
/// What one iteration did.
void count_rates(benchmark::State& state, const ModelCase& c, double flops);

/// Of what all threads could have done since it was made: the share of the peak in multiply-adds
/// ("%peak"), and where the rest went: work of one thread while the others have none
/// ("%rest_one_thread"), threads without a piece of shared work ("%rest_waiting"), and all else in
/// it, such as packing, element-wise work and memory ("%rest_other").
class ShareOfPeak {
 public:
  ShareOfPeak();
  void count(benchmark::State& state, double flops) const;

 private:
  std::chrono::steady_clock::time_point begin_;
  ThreadPool::Times before_;
};

}  // namespace gallop::testing
