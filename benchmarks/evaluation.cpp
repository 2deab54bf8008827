// One evaluation of the network with guidance, as a sampler makes them: the batch once with its
// labels and once without, experts by threshold; with the kernels of gallop/ops, with weights in 8
// bits, and with the references. benchmarks/peers/compare.py sets them beside plain PyTorch.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <benchmark/benchmark.h>

#include <optional>

#include "benchmarks/support/model_case.h"
#include "gallop/compute/int8_check.h"
#include "gallop/models/counts.h"
#include "gallop/models/packed_forward.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/ops/kernel.h"
#include "gallop/sparse/choice/routing_record.h"
#include "tests/ops/operator_case.h"

namespace gallop::testing {
namespace {

class Evaluation {
 public:
  explicit Evaluation(const ModelCase& c) : model_(make_model(c)) {
    const at::NoGradGuard no_grad;
    model_->materialize(0, {}, /*gradients=*/false);
    const at::Tensor x = random("x", {c.batch, c.channels, c.image, c.image});
    x_ = at::cat({x, x});
    t_ = at::full({2 * c.batch}, 0.5);
    const auto labels = [&](int64_t label) {
      return at::full({c.batch}, label, at::TensorOptions(at::kLong));
    };
    label_ = at::cat({labels(3), labels(10)});
    // Thresholds that keep what training keeps.
    std::vector<sparse::RoutingRecord> routing;
    model_->forward(x_,
                    {.training = true, .timestep_B = t_, .label_B = label_, .routing = &routing});
    for (const sparse::RoutingRecord& record : routing) {
      for (const sparse::PendingUpdate& update : record.pending) update.commit(0);
    }
  }
  at::Tensor run() const {
    const at::NoGradGuard no_grad;
    const at::Tensor y = model_->forward(x_, {.timestep_B = t_, .label_B = label_});
    const int64_t B = y.size(0) / 2;
    const at::Tensor without = y.narrow(0, B, B);
    return without.add(y.narrow(0, 0, B).sub(without), 2);
  }
  const models::Denoiser& model() const { return *model_; }
  double flops() const {
    return static_cast<double>(x_.size(0)) * models::training_flops(*model_) / 3;
  }

 private:
  std::unique_ptr<models::Denoiser> model_;
  at::Tensor x_, t_, label_;
};

void evaluate(benchmark::State& state, const ModelCase& c, const std::string& kind) {
  const Evaluation evaluation(c);
  std::optional<ops::ReferenceGuard> reference;
  const models::PackedForward packed(evaluation.model());
  std::optional<ops::Int8Weights> weights;
  std::optional<ops::Int8Guard> int8;
  if (kind == "reference") reference.emplace();
  if (kind == "int8") {
    int8.emplace(weights.emplace(compute::make_int8_weights(evaluation.model())));
  }
  evaluation.run();
  for (auto _ : state) benchmark::DoNotOptimize(evaluation.run());
  count_rates(state, c, evaluation.flops());
}

const bool registered = register_for_cases("evaluation", {"reference", "kernel", "int8"}, evaluate);

}  // namespace
}  // namespace gallop::testing
