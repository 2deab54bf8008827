#include "gallop/training/step.h"

#include <set>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/training/ema.h"
#include "gallop/training/gradients.h"

namespace gallop::training {

Stepper::Stepper(const runs::Recipe& recipe, tasks::Task& task, models::Denoiser& model,
                 models::Denoiser& average)
    : recipe_(recipe),
      task_(task),
      model_(model),
      average_(average),
      parameters_(trainable_parameters(model)),
      optimizer_(config::make<Optimizer>(recipe.optimizer, {parameters_})),
      schedule_(config::make<Schedule>(recipe.schedule, {recipe.train.steps})) {}

void Stepper::forget_gradients() { clear_gradients(parameters_); }

void Stepper::settle_average() { optimizer_->settle(trainable_parameters(average_)); }

StepReport Stepper::compute(const runs::RunState& state) {
  StepReport report;
  const int64_t micro_batches = recipe_.train.accumulate;
  const double share = 1.0 / static_cast<double>(micro_batches);
  for (int64_t i = 0; i < micro_batches; ++i) {
    tasks::TrainOutput out = task_.train(model_, state.step * micro_batches + i);
    if (recipe_.train.check) {
      try {
        tasks::require_finite(out);
      } catch (const Error& error) {
        fail("step ", state.step + 1, ", ", error.what());
      }
    }
    at::Tensor total;
    std::set<std::string> names;
    const auto add = [&](const std::string& name, const at::Tensor& value) {
      const std::string logged = tasks::logged_name(name);
      require(names.insert(logged).second, "the task gives two values the name '", logged, "'");
      report.values[logged] += share * value.item<double>();
    };
    for (const tasks::NamedLoss& loss : out.losses) {
      add(loss.name, loss.value);
      const at::Tensor weighted = loss.value.mul(loss.weight * share);
      total = total.defined() ? total.add(weighted) : weighted;
    }
    for (const auto& [name, value] : out.parts) add(name, value);
    report.values["loss"] += total.item<double>();
    total.backward();
    report.samples.insert(report.samples.end(), out.samples.begin(), out.samples.end());
    report.replaced += out.replaced;
    report.pending.push_back(tasks::take_pending(out));
    if (i + 1 == micro_batches) report.remarks = tasks::remarks_of(out);
  }
  coalesce_gradients(parameters_);
  report.values["grad_norm"] = global_norm(parameters_);
  return report;
}

// Empty, or what would become NaN or infinite.
std::string Stepper::update(StepReport& report, const runs::RunState& state, double average_decay) {
  const double factor = schedule_->factor(state.step);
  report.values["lr"] = factor * optimizer_->learning_rate();
  return optimizer_->take({.applied = state.applied + 1,
                           .factor = factor,
                           .gradient_scale = clip_factor(report.norm(), recipe_.train.clip),
                           .gradient_norm = report.norm(),
                           .averages = {trainable_parameters(average_), average_decay}});
}

void Stepper::apply(StepReport& report, runs::RunState& state) {
  if (report.finite()) {
    report.spike = state.spikes.spike(report.loss(), report.norm(), recipe_.train.spike);
  }
  const double average_decay = recipe_.ema.decay_at(state.applied);
  if (report.finite() && report.spike.empty()) {
    report.overflown = update(report, state, average_decay);
  }
  report.applied = report.finite() && report.spike.empty() && report.overflown.empty();
  if (report.applied) {
    for (const auto& pending : report.pending) {
      const nn::AppliedStep step(state.applied, &pending == &report.pending.back());
      for (const nn::PendingUpdate& change : pending) change.commit(step);
    }
    copy_untrained(model_, average_);
    first_values *= average_decay;
    state.applied += 1;
    state.skipped_in_row = 0;
    state.spikes.add(report.loss(), report.norm());
  } else {
    report.gradient = first_non_finite_gradient(parameters_);
    state.skipped += 1;
    state.skipped_in_row += 1;
    state.skipped_spikes += report.spike.empty() ? 0 : 1;
  }
  state.step += 1;
  state.samples += static_cast<int64_t>(report.samples.size());
  state.replaced += report.replaced;
}

}  // namespace gallop::training
