#include "gallop/compute/int8_check.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/models/int8.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/tasks/meters/sample_losses.h"

namespace gallop::compute {

namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double rms(const at::Tensor& x) {
  return x.numel() == 0 ? 0 : x.to(at::kDouble).square().mean().sqrt().item<double>();
}

}  // namespace

ops::Int8Weights make_int8_weights(const models::Model& model) {
  std::vector<at::Tensor> weights;
  for (const nn::Parameter* parameter : models::int8_candidates(model)) {
    const at::Tensor& value = **parameter;
    require(value.is_cpu() && value.scalar_type() == at::kFloat,
            "weights in 8 bits run on the CPU, made of float32; this model is on ", value.device(),
            " in ", value.scalar_type(),
            ": use --set device=cpu, or leave --int8 "
            "out");
    weights.push_back(value);
  }
  require(!weights.empty(),
          "no weight of this model would be in 8 bits: its blocks have no matrix of inner size ",
          models::least_int8_width, " or more; leave --int8 out");
  return ops::Int8Weights(weights);
}

Int8Check check_int8(const tasks::Task& task, const models::Model& model,
                     const ops::Int8Weights& weights, tasks::Plan plan,
                     const std::function<void(int64_t done, int64_t total)>& progress) {
  // Four parts of about the same length.
  constexpr int64_t part = 1000;
  const auto part_progress = [&](int64_t i) {
    return [&progress, i](int64_t done, int64_t total) {
      if (progress) progress(i * part + part * done / std::max<int64_t>(total, 1), 4 * part);
    };
  };
  const auto held_out_loss = [&](int64_t i, int64_t& samples) {
    tasks::SampleLosses losses;
    const auto* thresholds = plan.requests.empty() ? nullptr : plan.requests[0].thresholds;
    samples = tasks::measure(task, model, {&losses},
                             {.thresholds = thresholds, .progress = part_progress(i)})
                  .samples;
    return losses.main();
  };
  Int8Check check;
  std::optional<double> in_float32;
  try {
    in_float32 = held_out_loss(0, check.held_out);
  } catch (const Error& error) {
    check.held_out = 0;
    check.no_held_out = error.what();
  }
  if (in_float32) {
    const ops::Int8Guard guard(weights);
    check.loss_float = *in_float32;
    check.loss_int8 = held_out_loss(1, check.held_out);
    require(std::isfinite(check.loss_float) && std::isfinite(check.loss_int8),
            "the held-out loss is ", check.loss_float, " in float32 and ", check.loss_int8,
            " in 8 bits: look at the weights with `gallop inspect`");
  }

  plan.requests.resize(std::min<size_t>(plan.requests.size(), int8_check_draws));
  check.drawn = static_cast<int64_t>(plan.requests.size());
  const tasks::Generator& generator = *task.generator();
  const auto made = [&](int64_t i) {
    return generator.tensors(plan, tasks::generate(generator, model, plan, part_progress(i)))
        .at(0)
        .second;
  };
  at::Tensor in_int8, in_float;
  check.seconds_int8 = seconds_of([&] {
    const ops::Int8Guard guard(weights);
    in_int8 = made(2);
  });
  check.seconds_float = seconds_of([&] { in_float = made(3); });
  check.change = rms(in_int8.sub(in_float)) / rms(in_float);
  return check;
}

std::string describe(const ops::Int8Weights& weights, const models::Model& model) {
  int64_t all = 0;
  for (const nn::Parameter* parameter : model.parameters()) {
    const nn::Attributes& attributes = parameter->attributes();
    if (!attributes.buffer && !attributes.auxiliary) all += parameter->numel();
  }
  const auto used = static_cast<double>(weights.numel_used());
  return "int8: " + human_count(used) + " of " + human_count(static_cast<double>(all)) +
         format(" weights (%.0f %%) ran in 8 bits, kernel ",
                100 * used / static_cast<double>(all)) +
         weights.tile().name + "; it keeps them in " +
         human_bytes(static_cast<uint64_t>(weights.bytes())) + ", beside " +
         human_bytes(static_cast<uint64_t>(all) * sizeof(float)) + " of float32\n";
}

std::string describe(const Int8Check& check) {
  std::string text =
      check.held_out > 0
          ? format("held-out loss of %lld samples: %.5f in float32, %.5f in 8 bits (%+.2f %%)\n",
                   static_cast<long long>(check.held_out), check.loss_float, check.loss_int8,
                   100 * (check.loss_int8 / check.loss_float - 1))
          : "held-out loss: not measured (" + check.no_held_out + ")\n";
  text += format("%lld samples drawn both ways differ by %.2f %% (RMS); they took ",
                 static_cast<long long>(check.drawn), 100 * check.change);
  return text + human_duration(check.seconds_float) + " in float32, " +
         human_duration(check.seconds_int8) +
         format(" in 8 bits: %.2fx\n", check.seconds_float / check.seconds_int8);
}

}  // namespace gallop::compute
