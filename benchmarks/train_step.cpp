// Whole training steps on random data in memory, as the trainer takes them: forward, backward,
// clipping, AdamW and the moving average; with the kernels of gallop/ops, also in bf16 where the
// CPU has it, and with their references. FLOP counts weight matrices and attention of the active
// experts, three times the forward. benchmarks/peers/compare.py sets them beside plain PyTorch.
#include <ATen/ops/full.h>
#include <benchmark/benchmark.h>

#include <optional>

#include "benchmarks/support/model_case.h"
#include "benchmarks/support/peak.h"
#include "gallop/config/registry.h"
#include "gallop/models/counts.h"
#include "gallop/models/denoiser.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/training/ema.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "tests/ops/operator_case.h"

namespace gallop::testing {
namespace {

class Step {
 public:
  explicit Step(const ModelCase& c) : model_(make_model(c)), average_(make_model(c)) {
    model_->materialize(0);
    average_->materialize(0, {}, false);
    parameters_ = training::trainable_parameters(*model_);
    optimizer_ =
        config::make<training::Optimizer>(config::Component("optimizer", "adamw"), {parameters_});
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
    const double norm = training::global_norm(parameters_);
    optimizer_->take({.applied = ++steps_,
                      .gradient_scale = training::clip_factor(norm, 1.0),
                      .gradient_norm = norm,
                      .averages = {training::trainable_parameters(*average_), 0.999}});
    for (const sparse::RoutingRecord& record : routing) {
      for (const sparse::PendingUpdate& update : record.pending) update.commit(steps_);
    }
    training::copy_untrained(*model_, *average_);
    training::clear_gradients(parameters_);
  }
  double flops() const { return flops_; }

 private:
  std::unique_ptr<models::Denoiser> model_, average_;
  std::vector<nn::Parameter*> parameters_;
  std::unique_ptr<training::Optimizer> optimizer_;
  at::Tensor x_, target_, t_, label_;
  double flops_;
  int64_t steps_ = 0;
};

void step(benchmark::State& state, const ModelCase& c, const std::string& kind) {
  Step step(c);
  std::optional<ops::ReferenceGuard> guard;
  if (kind == "reference") guard.emplace();
  const ops::PrecisionGuard precision(kind == "bf16" ? ops::Precision::bf16
                                                     : ops::Precision::float32);
  peak_of_a_core();
  step.run();
  const ShareOfPeak share;
  for (auto _ : state) step.run();
  if (kind == "kernel") share.count(state, step.flops());
  count_rates(state, c, step.flops());
}

const bool registered = [] {
  std::vector<std::string> kinds{"kernel", "reference"};
  if (ops::bf16_missing().empty()) kinds.emplace_back("bf16");
  return register_for_cases("step", kinds, step);
}();

}  // namespace
}  // namespace gallop::testing
