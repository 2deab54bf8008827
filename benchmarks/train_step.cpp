// Whole training steps on random data in memory, as the trainer takes them: forward, backward,
// clipping, AdamW and the moving average; with the kernels of gallop/ops, also in bf16 where the
// CPU has it, and with their references. FLOP counts weight matrices and attention of the active
// experts, three times the forward. benchmarks/peers/compare.py sets them beside plain PyTorch.
#include <ATen/ops/full.h>
#include <benchmark/benchmark.h>

#include <array>
#include <optional>

#include "gallop/config/parse.h"
#include "gallop/config/registry.h"
#include "gallop/models/counts.h"
#include "gallop/models/model.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/routing_record.h"
#include "gallop/sparse/sparse_loss.h"
#include "gallop/training/ema.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "tests/ops/operator_case.h"

namespace gallop::testing {
namespace {

struct Recipe : config::Fields<Recipe> {
  config::Component model{"model", "dit"}, optimizer{"optimizer", "adamw"};
  void fields(config::Visitor& v) override {
    v.component("model", model, "the network");
    v.component("optimizer", optimizer, "how gradients become steps");
  }
};

struct Case {
  const char* name;
  const char* model;
  std::string setting;  // "k-in-E"; empty: dense
  int64_t image, channels, batch;
};

constexpr const char* losses =
    "losses = { router_similarity = { weight = 1e-4 }, per_layer = { weight = 1e-2 } }\n";

const std::array cases{
    Case{"default-race", "width = 128\ndepth = 6\nheads = 4\npatch = 4", "2-in-8", 28, 1, 64},
    Case{"default-dense", "width = 128\ndepth = 6\nheads = 4\npatch = 4", "", 28, 1, 64},
    Case{"s2-race-2in8", "size = \"S/2\"", "2-in-8", 32, 4, 8},
    Case{"s2-race-4in32", "size = \"S/2\"", "4-in-32", 32, 4, 8},
    Case{"s2-dense", "size = \"S/2\"", "", 32, 4, 8},
};

class Step {
 public:
  explicit Step(const Case& c) {
    Recipe recipe;
    std::string text = "[model]\n" + std::string(c.model);
    if (!c.setting.empty()) {
      text += "\n[model.mlp]\nkind = \"moe\"\nsetting = \"" + c.setting + "\"\n" + losses;
    }
    config::load_text(recipe, text, c.name, {});
    const models::Model::Args sizes{
        .channels = c.channels, .height = c.image, .width = c.image, .classes = 10};
    model_ = models::make_model(recipe.model, sizes);
    average_ = models::make_model(recipe.model, sizes);
    model_->materialize(0);
    average_->materialize(0, {}, false);
    parameters_ = training::trainable_parameters(*model_);
    optimizer_ = config::make<training::Optimizer>(recipe.optimizer, {parameters_});
    x_ = random("x", {c.batch, c.channels, c.image, c.image});
    target_ = random("target", x_.sizes());
    t_ = random("t", {c.batch}).sigmoid();
    label_ = at::full({c.batch}, 3, at::TensorOptions(at::kLong));
    flops_ = static_cast<double>(c.batch) * models::training_flops(*model_);
  }

  void run() {
    std::vector<sparse::RoutingRecord> routing;
    const at::Tensor y = model_->forward(
        x_, {.training = true, .timestep_B = t_, .label_B = label_, .routing = &routing});
    at::Tensor loss = y.sub(target_).square().mean();
    const at::Tensor target_BLH = model_->to_tokens(target_);
    for (const auto& total : sparse::total_losses(routing, target_BLH)) {
      loss = loss.add(total.value, total.weight);
    }
    loss.backward();
    optimizer_->step(++steps_, 1, training::clip_factor(training::global_norm(parameters_), 1.0),
                     {training::trainable_parameters(*average_), 0.999});
    for (const sparse::RoutingRecord& record : routing) {
      for (const sparse::PendingUpdate& update : record.pending) update.commit(steps_);
    }
    training::copy_untrained(*model_, *average_);
    training::clear_gradients(parameters_);
  }
  double flops() const { return flops_; }

 private:
  std::unique_ptr<models::Model> model_, average_;
  std::vector<nn::Parameter*> parameters_;
  std::unique_ptr<training::Optimizer> optimizer_;
  at::Tensor x_, target_, t_, label_;
  double flops_;
  int64_t steps_ = 0;
};

void step(benchmark::State& state, const Case& c, const std::string& kind) {
  Step step(c);
  std::optional<ops::ReferenceGuard> guard;
  if (kind == "reference") guard.emplace();
  const ops::PrecisionGuard precision(kind == "bf16" ? ops::Precision::bf16
                                                     : ops::Precision::float32);
  step.run();
  for (auto _ : state) step.run();
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(step.flops(), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["images"] = static_cast<double>(c.batch);
}

const bool registered = [] {
  std::vector<std::string> kinds{"kernel", "reference"};
  if (ops::bf16_missing().empty()) kinds.emplace_back("bf16");
  for (const Case& c : cases) {
    for (const std::string& kind : kinds) {
      const std::string name = std::string("step/") + c.name + "/" + kind;
      benchmark::RegisterBenchmark(name.c_str(), step, c, kind)
          ->Unit(benchmark::kMillisecond)
          ->MeasureProcessCPUTime()
          ->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace gallop::testing
