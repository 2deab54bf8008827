#include "benchmarks/support/model_case.h"

#include <ATen/Parallel.h>

#include "benchmarks/support/peak.h"
#include "gallop/base/allocation.h"
#include "gallop/base/thread_pool.h"
#include "gallop/config/parse.h"

namespace gallop::testing {
namespace {

struct Recipe : config::Fields<Recipe> {
  config::Component model{"denoiser", "dit"};
  void fields(config::Visitor& v) override { v.component("model", model, "the network"); }
};

constexpr const char* losses =
    "losses = { router_similarity = { weight = 1e-4 }, per_layer = { weight = 1e-2 } }\n";

}  // namespace

const std::vector<ModelCase>& model_cases() {
  static const char* small = "width = 128\ndepth = 6\nheads = 4\npatch = 4";
  static const char* s2 = "size = \"S/2\"";
  static const std::vector<ModelCase> cases{{"default-race", small, "2-in-8", 28, 1, 64},
                                            {"default-dense", small, "", 28, 1, 64},
                                            {"s2-race-2in8", s2, "2-in-8", 32, 4, 8},
                                            {"s2-race-4in32", s2, "4-in-32", 32, 4, 8},
                                            {"s2-dense", s2, "", 32, 4, 8}};
  return cases;
}

std::unique_ptr<models::Denoiser> make_model(const ModelCase& c) {
  Recipe recipe;
  std::string text = "[model]\n" + std::string(c.model);
  if (!c.setting.empty()) {
    text += "\n[model.mlp]\nkind = \"moe\"\nsetting = \"" + c.setting + "\"\n" + losses;
  }
  config::load_text(recipe, text, c.name, {});
  return models::make_denoiser(
      recipe.model, {.channels = c.channels, .height = c.image, .width = c.image, .classes = 10});
}

bool register_for_cases(const std::string& what, const std::vector<std::string>& kinds,
                        RunCase run) {
  keep_freed_memory();  // as the program does
  for (const ModelCase& c : model_cases()) {
    for (const std::string& kind : kinds) {
      const std::string name = what + "/" + c.name + "/" + kind;
      benchmark::RegisterBenchmark(
          name.c_str(),
          [run, &c, kind](benchmark::State& state) {
            // In the program, libtorch's own threads would be in the way.
            at::set_num_threads(kind == "reference" ? ThreadPool::shared().threads() : 1);
            run(state, c, kind);
          })
          ->Unit(benchmark::kMillisecond)
          ->MeasureProcessCPUTime()
          ->UseRealTime();
    }
  }
  return true;
}

void count_rates(benchmark::State& state, const ModelCase& c, double flops) {
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["images"] = static_cast<double>(c.batch);
}

ShareOfPeak::ShareOfPeak()
    : begin_(std::chrono::steady_clock::now()), before_(ThreadPool::shared().times()) {}

void ShareOfPeak::count(benchmark::State& state, double flops) const {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
  const ThreadPool& pool = ThreadPool::shared();
  const ThreadPool::Times now = pool.times();
  const double all = pool.threads() * seconds.count();
  // One thread shares nothing: all it does is work.
  const bool alone = pool.threads() == 1;
  const double shared = alone ? seconds.count() : now.shared - before_.shared;
  const double busy = alone ? all : now.busy - before_.busy;
  const double products = flops * static_cast<double>(state.iterations()) / peak_of_a_core();
  const auto percent = [&](double part) { return benchmark::Counter(100 * part / all); };
  state.counters["%peak"] = percent(products);
  state.counters["%rest_one_thread"] = percent(pool.threads() * (seconds.count() - shared));
  state.counters["%rest_waiting"] = percent(pool.threads() * shared - busy);
  state.counters["%rest_other"] = percent(busy - products);
}

}  // namespace gallop::testing
