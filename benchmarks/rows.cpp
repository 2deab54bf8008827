// A step that touches 10,000 rows of a table of 32 columns, by the size of the table: lookup,
// backward, coalescing, norm, AdamW with the moving average; beside it the same by ATen, and a
// dense step of AdamW on the largest table. Then what an evaluation or a save waits for: the
// averages of all rows.
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <benchmark/benchmark.h>

#include <optional>

#include "gallop/base/allocation.h"
#include "gallop/config/registry.h"
#include "gallop/nn/row_table.h"
#include "gallop/ops/adamw.h"
#include "gallop/ops/kernel.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "tests/support/rows.h"

namespace gallop::testing {
namespace {

constexpr int64_t width = 32, touched = 10000;

struct Root : nn::Module {
  explicit Root(int64_t rows) : table(*this, "table", rows, width) {}
  nn::RowTable table;
};

class Step {
 public:
  explicit Step(int64_t rows) : model_(rows), average_(rows) {
    keep_freed_memory();  // as the program does
    model_.materialize(1);
    average_.materialize(1, {}, false);
    parameters_ = training::trainable_parameters(model_);
    averages_ = training::trainable_parameters(average_);
    optimizer_ =
        config::make<training::Optimizer>(config::Component("optimizer", "adamw"), {parameters_});
    for (const auto& [name, tensor] : optimizer_->state()) tensor.fill_(0);  // touched before
    for (int64_t n = 0; n < 16; ++n) {
      index_.push_back(at::tensor(some_rows(touched, rows, n), at::kLong));
    }
    run();  // which reads the whole table once
  }
  void run() {
    model_.table.lookup(index_[steps_ % 16]).square().sum().backward();
    training::coalesce_gradients(parameters_);
    const double norm = training::global_norm(parameters_);
    optimizer_->take({.applied = ++steps_,
                      .gradient_scale = training::clip_factor(norm, 1.0),
                      .gradient_norm = norm,
                      .averages = {averages_, 0.999}});
    training::clear_gradients(parameters_);
  }
  void settle() { optimizer_->settle(averages_); }

 private:
  Root model_, average_;
  std::vector<nn::Parameter*> parameters_, averages_;
  std::unique_ptr<training::Optimizer> optimizer_;
  std::vector<at::Tensor> index_;
  int64_t steps_ = 0;
};

void step(benchmark::State& state, bool reference) {
  Step step(state.range(0));
  std::optional<ops::ReferenceGuard> guard;
  if (reference) guard.emplace();
  for (auto _ : state) step.run();
}

void settle(benchmark::State& state) {
  Step step(state.range(0));
  step.settle();
  for (auto _ : state) step.settle();
}

void dense(benchmark::State& state) {
  Root model(state.range(0));
  model.materialize(1);
  const at::Tensor value = (*model.table.weight()).detach();
  const auto made = [&] { return at::zeros_like(value).fill_(0.5); };
  const ops::AdamWTensors tensors{value, made(), made(), made(), made()};
  int64_t n = 0;
  for (auto _ : state) {
    ops::adamw_step({tensors}, {.step = ++n, .rate = 1e-4, .average_decay = 0.999});
  }
}

void sizes(benchmark::internal::Benchmark* b) {
  b->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(step, kernel, false)->Name("rows/step/kernel")->Apply(sizes);
BENCHMARK_CAPTURE(step, reference, true)->Name("rows/step/reference")->Apply(sizes);
BENCHMARK(dense)->Name("rows/dense AdamW of all")->Apply(sizes);
BENCHMARK(settle)->Name("rows/averages of all")->Apply(sizes);

}  // namespace
}  // namespace gallop::testing
