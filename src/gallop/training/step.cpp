#include "gallop/training/step.h"

#include <set>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/stop.h"
#include "gallop/config/registry.h"
#include "gallop/training/ema.h"
#include "gallop/training/gradients.h"

namespace gallop::training {

Stepper::Stepper(const runs::Recipe& recipe, const tasks::Task& task, models::Model& model,
                 models::Model& average)
    : recipe_(recipe),
      task_(task),
      model_(model),
      average_(average),
      parameters_(trainable_parameters(model)),
      passes_(make_passes(task, recipe, model, average)),
      schedule_(config::make<Schedule>(recipe.schedule, {recipe.train.steps})) {
  require(passes_.size() == 1 || recipe.train.spike == 0, "train.spike = ", recipe.train.spike,
          " judges a step by its one loss, and the steps of this task have ", passes_.size(),
          " passes: set it to 0");
}

void Stepper::forget_gradients() { clear_gradients(parameters_); }

void Stepper::settle_average() const {
  for (const LearningPass& pass : passes_) pass.optimizer->settle(pass.averages);
}

// Each sample is read once a step, however many passes see it.
tasks::Batch Stepper::batch(int64_t i, const runs::RunState& state, StepReport& report) {
  if (i < static_cast<int64_t>(batches_.size())) return batches_[static_cast<size_t>(i)];
  if (!stream_) stream_ = task_.stream(tasks::Split::train);
  tasks::Batch batch = stream_->at(state.samples + i * recipe_.train.batch, recipe_.train.batch);
  report.samples.insert(report.samples.end(), batch.samples.begin(), batch.samples.end());
  report.replaced += batch.replaced;
  if (passes_.size() > 1) batches_.push_back(batch);
  return batch;
}

void Stepper::run(const LearningPass& pass, const runs::RunState& state, StepReport& report) {
  const int64_t micro_batches = recipe_.train.accumulate;
  const double share = 1.0 / static_cast<double>(micro_batches);
  const std::string prefix = passes_.size() > 1 ? pass.pass.name + "_" : "";
  tasks::StepMemory memory;
  const auto outcome_of = [&](const tasks::Batch& batch) {
    const ops::PrecisionGuard precision(task_.args().precision);
    return task_.run(model_, batch, pass.pass, {.micro_batches = micro_batches, .step = &memory});
  };
  result_ = {};
  for (int64_t i = 0; i < micro_batches; ++i) {
    tasks::Outcome out = outcome_of(batch(i, state, report));
    if (recipe_.train.check) {
      try {
        tasks::require_finite(out);
      } catch (const Error& error) {
        fail("step ", state.step + 1, ", ", error.what());
      }
    }
    require(!out.losses.empty(), "the pass '", pass.pass.name, "' of the task gives no loss");
    at::Tensor total;
    std::set<std::string> names;
    const auto add = [&](const std::string& name, const at::Tensor& value) {
      const std::string logged = tasks::logged_name(prefix + name);
      require(names.insert(logged).second, "the task gives two values the name '", logged, "'");
      report.values[logged] += share * value.item<double>();
    };
    for (const tasks::NamedLoss& loss : out.losses) {
      add(loss.name, loss.value);
      const at::Tensor weighted = loss.value.mul(loss.weight * share);
      total = total.defined() ? total.add(weighted) : weighted;
    }
    for (const auto& [name, value] : out.parts) add(name, value);
    result_.loss += total.item<double>();
    total.backward();
    result_.pending.push_back(tasks::take_pending(out));
    if (i + 1 == micro_batches) report.remarks = tasks::remarks_of(out);
  }
  coalesce_gradients(pass.parameters);
  result_.norm = global_norm(pass.parameters);
  if (passes_.size() == 1) {
    report.values["loss"] = result_.loss;
    report.values["grad_norm"] = result_.norm;
    return;
  }
  report.values[prefix + "loss"] = result_.loss;
  report.values[prefix + "grad_norm"] = result_.norm;
  report.values["loss"] += result_.loss;
  report.values["grad_norm"] = std::hypot(report.values["grad_norm"], result_.norm);
}

StepReport Stepper::compute(const runs::RunState& state) {
  StepReport report;
  batches_.clear();
  for (const LearningPass& pass : passes_) {
    if (!takes_part(pass, state)) continue;
    run(pass, state, report);
    return report;
  }
  fail("no pass of the task takes part in step ", state.step + 1);
}

// Empty, or what would become NaN or infinite.
std::string Stepper::update(const LearningPass& pass, const runs::RunState& state,
                            StepReport& report) {
  const double factor = schedule_->factor(state.step);
  const double rate = factor * pass.optimizer->learning_rate();
  if (!report.values.contains("lr")) report.values["lr"] = rate;
  if (passes_.size() > 1) report.values[pass.pass.name + "_lr"] = rate;
  return pass.optimizer->take({.applied = state.applied + 1,
                               .factor = factor,
                               .gradient_scale = clip_factor(result_.norm, recipe_.train.clip),
                               .gradient_norm = result_.norm,
                               .averages = {pass.averages, recipe_.ema.decay_at(state.applied)}});
}

bool Stepper::finish(const LearningPass& pass, const runs::RunState& state, StepReport& report) {
  const bool finite = std::isfinite(result_.loss) && std::isfinite(result_.norm);
  if (finite && passes_.size() == 1) {
    report.spike = state.spikes.spike(result_.loss, result_.norm, recipe_.train.spike);
  }
  const Decision decision =
      agree(task_.args().world,
            {.finite = finite, .spike = !report.spike.empty(), .stop = stop_requested()});
  report.stop = report.stop || decision.stop;
  if (decision.applies()) report.overflown = update(pass, state, report);
  if (!decision.applies() || !report.overflown.empty()) {
    report.gradient = first_non_finite_gradient(pass.parameters);
    return false;
  }
  for (const auto& pending : result_.pending) {
    const nn::AppliedStep step(state.applied, &pending == &result_.pending.back());
    for (const nn::PendingUpdate& change : pending) change.commit(step);
  }
  return true;
}

void Stepper::apply(StepReport& report, runs::RunState& state) {
  bool first = true;
  report.applied = true;
  for (const LearningPass& pass : passes_) {
    if (!takes_part(pass, state)) continue;
    if (!std::exchange(first, false)) {
      forget_gradients();  // the pass before leaves some on what it does not move
      run(pass, state, report);
    }
    report.applied = finish(pass, state, report);
    if (!report.applied) break;
  }
  if (report.applied) {
    copy_untrained(model_, average_);
    first_values *= recipe_.ema.decay_at(state.applied);
    state.applied += 1;
    state.skipped_in_row = 0;
    state.spikes.add(report.loss(), report.norm());
  } else {
    state.skipped += 1;
    state.skipped_in_row += 1;
    state.skipped_spikes += report.spike.empty() ? 0 : 1;
  }
  state.step += 1;
  state.samples += static_cast<int64_t>(report.samples.size());
  state.replaced += report.replaced;
}

}  // namespace gallop::training
