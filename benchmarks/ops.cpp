// Every operator beside its plain ATen reference. CPU is the time of all threads together: it
// hardly depends on what else the machine does. FLOP_per_cpu_s is the rate of one core.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <benchmark/benchmark.h>

#include "gallop/base/allocation.h"
#include "gallop/ops/adamw.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/ops/inference/packed_weights.h"
#include "gallop/ops/precision.h"
#include "gallop/ops/topk_mask.h"
#include "tests/ops/operator_case.h"

namespace gallop::testing {
namespace {

using Op = std::function<at::Tensor(const Tensors&)>;

void forward(benchmark::State& state, const OperatorCase& c, const Op& op) {
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(op(c.inputs));
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(c.flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["byte_per_cpu_s"] =
      benchmark::Counter(c.bytes, benchmark::Counter::kIsIterationInvariantRate);
}

// The same with weights that are cut into panels or brought to 8 bits before.
template <class Forms, class Guard>
void forward_with(benchmark::State& state, const OperatorCase& c, const Tensors& weights) {
  const Forms forms(weights);
  forms.make_all();
  const Guard guard(forms);
  forward(state, c, c.op);
}

// Forward and backward, as a training step has them.
void both(benchmark::State& state, const OperatorCase& c, const Op& op) {
  Tensors inputs;
  for (const at::Tensor& input : c.inputs) {
    inputs.push_back(input.clone().set_requires_grad(true));
  }
  const at::Tensor cotangent = random("cotangent", op(inputs).sizes());
  for (auto _ : state) {
    op(inputs).backward(cotangent);
    for (const at::Tensor& input : inputs) input.mutable_grad() = at::Tensor();
  }
  state.counters["FLOP_per_cpu_s"] =
      benchmark::Counter(3 * c.flops, benchmark::Counter::kIsIterationInvariantRate);
}

// The same with its operands in bf16.
Op in_bf16(const Op& op) {
  return [op](const Tensors& in) {
    const ops::PrecisionGuard guard(ops::Precision::bf16);
    return op(in);
  };
}

// What oneDNN inside libtorch does with a linear layer: reached through the dispatcher, forward
// only.
at::Tensor onednn_linear(const Tensors& in) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                            std::string_view, c10::List<std::optional<at::Scalar>>,
                            std::optional<std::string_view>)>();
  return op.call(in[0], in[1], in.size() > 2 ? std::optional(in[2]) : std::nullopt, "none",
                 c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

// The threshold of one race: a quarter of all scores is kept. By the clock, since threads share it.
void select(benchmark::State& state, int64_t scores, ops::TopK (*op)(const at::Tensor&, int64_t)) {
  const at::Tensor key = random("scores", {1, scores});
  for (auto _ : state) benchmark::DoNotOptimize(op(key, scores / 4));
  state.counters["byte_per_cpu_s"] = benchmark::Counter(
      static_cast<double>(scores) * sizeof(float), benchmark::Counter::kIsIterationInvariantRate);
}

// One step of a model of 32 M parameters with its moving average; bytes as one pass moves them.
void adamw(benchmark::State& state,
           void (*op)(const std::vector<ops::AdamWTensors>&, const ops::AdamWStep&)) {
  constexpr int64_t tensors = 32, numbers = int64_t{1} << 20;
  std::vector<ops::AdamWTensors> model;
  for (int64_t i = 0; i < tensors; ++i) {
    const at::Tensor x = random("adamw", {numbers});
    model.push_back({x, x.mul(0.1), x.mul(0), x.mul(0), x.clone()});
  }
  const ops::AdamWStep step{
      .step = 10, .rate = 1e-4, .gradient_scale = 0.9, .average_decay = 0.999};
  for (auto _ : state) op(model, step);
  state.counters["byte_per_s"] = benchmark::Counter(9.0 * tensors * numbers * sizeof(float),
                                                    benchmark::Counter::kIsIterationInvariantRate);
}

// What memory gives at most: four streams, three read and one written.
void streams(benchmark::State& state) {
  constexpr int64_t numbers = int64_t{1} << 25;
  const at::Tensor a = random("streams", {numbers}), b = a.mul(2), c = a.mul(3);
  at::Tensor out = a.clone();
  for (auto _ : state) at::addcmul_out(out, a, b, c);
  state.counters["byte_per_s"] = benchmark::Counter(4.0 * numbers * sizeof(float),
                                                    benchmark::Counter::kIsIterationInvariantRate);
}

void add(const OperatorCase& c, const std::string& kind, const Op& op, bool backward = true) {
  const auto name = [&](const char* pass) { return c.name + "/" + pass + "/" + kind; };
  benchmark::RegisterBenchmark(name("forward").c_str(), forward, c, op)
      ->Unit(benchmark::kMicrosecond)
      ->MeasureProcessCPUTime();
  if (!backward) return;
  benchmark::RegisterBenchmark(name("both").c_str(), both, c, op)
      ->Unit(benchmark::kMicrosecond)
      ->MeasureProcessCPUTime();
}

const bool registered = [] {
  keep_freed_memory();  // as the program does
  for (const auto& cases :
       {linear_benchmarks(), activation_benchmarks(), adaln_benchmarks(),
        self_attention_benchmarks(), attention_benchmarks(), grouped_mlp_benchmarks()}) {
    for (const OperatorCase& c : cases) {
      add(c, "kernel", c.op);
      add(c, "reference", c.reference);
      const bool linear = c.name.starts_with("linear"), grouped = c.name.starts_with("grouped_mlp");
      if (c.name.starts_with("linear ")) add(c, "onednn", onednn_linear, /*backward=*/false);
      if (!linear && !grouped) continue;
      if (ops::bf16_missing().empty()) add(c, "bf16", in_bf16(c.op));
      const Tensors weights = linear ? Tensors{c.inputs[1]} : Tensors{c.inputs[2], c.inputs[4]};
      for (const auto& [kind, run] :
           {std::pair{"packed", &forward_with<ops::PackedWeights, ops::PackedGuard>},
            std::pair{"int8", &forward_with<ops::Int8Weights, ops::Int8Guard>}}) {
        benchmark::RegisterBenchmark((c.name + "/forward/" + kind).c_str(), run, c, weights)
            ->Unit(benchmark::kMicrosecond)
            ->MeasureProcessCPUTime();
      }
    }
  }
  for (const auto& [kind, op] :
       {std::pair{"kernel", &ops::topk_mask}, std::pair{"reference", &ops::topk_mask_reference}}) {
    for (const int64_t scores : {524'288, 4'194'304}) {
      const std::string name = "topk " + std::to_string(scores) + "/forward/" + kind;
      benchmark::RegisterBenchmark(name.c_str(), select, scores, op)
          ->Unit(benchmark::kMicrosecond)
          ->MeasureProcessCPUTime()
          ->UseRealTime();
    }
  }
  const auto fused = +[](const std::vector<ops::AdamWTensors>& tensors,
                         const ops::AdamWStep& step) { ops::adamw_step(tensors, step); };
  for (const auto& [kind, op] :
       {std::pair{"kernel", fused}, std::pair{"reference", &ops::adamw_step_reference}}) {
    benchmark::RegisterBenchmark((std::string("adamw+ema 32M/step/") + kind).c_str(), adamw, op)
        ->Unit(benchmark::kMicrosecond)
        ->MeasureProcessCPUTime()
        ->UseRealTime();
  }
  benchmark::RegisterBenchmark("memory/streams", streams)
      ->Unit(benchmark::kMicrosecond)
      ->MeasureProcessCPUTime()
      ->UseRealTime();
  return true;
}();

}  // namespace
}  // namespace gallop::testing
