// Forward and backward of whole models on random data, with the kernels of gallop/ops and with
// their references: what a training step costs besides data and optimizer. FLOP counts weight
// matrices and attention of the active experts, three times the forward.
#include <ATen/ops/full.h>
#include <benchmark/benchmark.h>

#include <array>
#include <optional>

#include "gallop/config/parse.h"
#include "gallop/models/counts.h"
#include "gallop/models/model.h"
#include "gallop/ops/kernel.h"
#include "gallop/sparse/routing_record.h"
#include "gallop/sparse/sparse_loss.h"
#include "tests/ops/operator_case.h"

namespace gallop::testing {
namespace {

struct Recipe : config::Fields<Recipe> {
  config::Component model{"model", "dit"};
  void fields(config::Visitor& v) override { v.component("model", model, "the network"); }
};

struct Case {
  const char* name;
  const char* model;
  int64_t image, channels, batch;
};

constexpr const char* race = R"(
[model.mlp]
kind = "moe"
losses = { router_similarity = { weight = 1e-4 }, per_layer = { weight = 1e-2 } }
)";

const std::array cases{
    Case{"default race 2-in-8", "width = 128\ndepth = 6\nheads = 4\npatch = 4", 28, 1, 128},
    Case{"default dense", "width = 128\ndepth = 6\nheads = 4\npatch = 4", 28, 1, 128},
    Case{"S/2 race 2-in-8", "size = \"S/2\"", 32, 4, 8},
    Case{"S/2 dense", "size = \"S/2\"", 32, 4, 8},
};

class Step {
 public:
  explicit Step(const Case& c) {
    const std::string name = c.name;
    Recipe recipe;
    config::load_text(
        recipe,
        "[model]\n" + std::string(c.model) + (name.find("race") == std::string::npos ? "" : race),
        c.name, {});
    model_ = models::make_model(
        recipe.model, {.channels = c.channels, .height = c.image, .width = c.image, .classes = 10});
    model_->materialize(0);
    x_ = random("x", {c.batch, c.channels, c.image, c.image});
    target_ = random("target", x_.sizes());
    t_ = random("t", {c.batch}).sigmoid();
    label_ = at::full({c.batch}, 3, at::TensorOptions(at::kLong));
    flops_ = static_cast<double>(c.batch) * models::training_flops(*model_);
  }

  void run() const {
    std::vector<sparse::RoutingRecord> routing;
    const at::Tensor y = model_->forward(
        x_, {.training = true, .timestep_B = t_, .label_B = label_, .routing = &routing});
    at::Tensor loss = y.sub(target_).square().mean();
    const at::Tensor target_BLH = model_->to_tokens(target_);
    for (const sparse::RoutingRecord& record : routing) {
      for (const auto& part : *record.losses) {
        loss = loss.add(part->value(record, target_BLH).mul(part->weight()));
      }
    }
    loss.backward();
    for (nn::Parameter* parameter : model_->parameters()) {
      (*parameter)->mutable_grad() = at::Tensor();
    }
  }
  double flops() const { return flops_; }

 private:
  std::unique_ptr<models::Model> model_;
  at::Tensor x_, target_, t_, label_;
  double flops_;
};

void step(benchmark::State& state, const Case& c, bool reference) {
  const Step step(c);
  std::optional<ops::ReferenceGuard> guard;
  if (reference) guard.emplace();
  step.run();
  for (auto _ : state) step.run();
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(step.flops(), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["images_per_cpu_s"] = benchmark::Counter(
      static_cast<double>(c.batch), benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  for (const Case& c : cases) {
    for (const bool reference : {false, true}) {
      const std::string name =
          std::string("step ") + c.name + (reference ? "/reference" : "/kernel");
      benchmark::RegisterBenchmark(name.c_str(), step, c, reference)
          ->Unit(benchmark::kMillisecond)
          ->MeasureProcessCPUTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace gallop::testing
