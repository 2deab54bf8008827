#include "gallop/training/trainer.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/progress.h"
#include "gallop/base/stop.h"
#include "gallop/compute/calibrate.h"
#include "gallop/config/print.h"
#include "gallop/config/registry.h"
#include "gallop/formats/image.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/device.h"
#include "gallop/runs/finite.h"
#include "gallop/runs/initial_weights.h"
#include "gallop/runs/restore.h"
#include "gallop/runs/resume.h"
#include "gallop/runs/sample_sheet.h"
#include "gallop/runs/young_average.h"
#include "gallop/sparse/statistics.h"
#include "gallop/training/ema.h"
#include "gallop/training/estimate.h"
#include "gallop/training/gradients.h"
#include "gallop/training/non_finite.h"
#include "gallop/training/rate_jump.h"

namespace gallop::training {

namespace {

using Values = std::map<std::string, double>;

// Thrown out of long work beside the steps when the run is to stop; what it would have left is done
// when the run goes on. An exception like others for who embeds this, though no failure.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "asked to stop"; }
};

void leave_if_asked() {
  if (stop_requested()) throw Interrupted{};
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// The names of the log that are the trainer's own: a value of the task that has one of them is
// logged as "task_loss", so that no two are taken for one.
std::string name_of_task_value(const std::string& name) {
  constexpr std::array own = {"step",
                              "time",
                              "kind",
                              "loss",
                              "grad_norm",
                              "lr",
                              "max_violation",
                              "starved",
                              "experts_per_token",
                              "images_per_second",
                              "seconds",
                              "replaced"};
  return std::find(own.begin(), own.end(), name) == own.end() ? name : "task_" + name;
}

std::map<std::string, at::Tensor> by_name(runs::NamedTensors&& tensors) {
  return {std::move_iterator(tensors.begin()), std::move_iterator(tensors.end())};
}

// Where the run shall lie; throws before anything is written if it could not be trained.
std::string folder_of_a_possible_run(const runs::Recipe& recipe, tasks::Task& task,
                                     const models::Model& model) {
  if (recipe.eval.every > 0) task.held_out_info();
  require_memory(estimate(model, recipe, task.data_info()), recipe.memory_limit);
  if (recipe.sample.every > 0) task.check(model, runs::sample_request(recipe));
  return recipe.out;
}

// What stands before the names of its statistics in the log.
std::string of_choice(sparse::Choice choice) {
  return choice == sparse::Choice::expert ? "" : sparse::plural_of(choice) + std::string("_");
}

void copy_weights(const nn::Module& from, nn::Module& to) { update_ema(from, to, 0); }

std::vector<std::pair<std::string, double>> ordered(const Values& values) {
  return {values.begin(), values.end()};
}

}  // namespace

struct Trainer::StepReport {
  Values values;  // "loss", each loss and part by name, "grad_norm"
  std::vector<std::vector<sparse::PendingUpdate>> pending;  // of each micro-batch
  std::vector<int64_t> samples;
  int64_t replaced = 0;
  std::optional<sparse::RoutingTotals> routing;  // of the last micro-batch, where there is some
  double seconds = 0;
  std::string spike;      // why a finite step is not applied; empty: it is
  std::string overflown;  // what an update would have made NaN or infinite; empty: nothing

  double loss() const { return values.at("loss"); }
  double norm() const { return values.at("grad_norm"); }
  bool finite() const { return std::isfinite(loss()) && std::isfinite(norm()); }
};

Trainer::Trainer(runs::Recipe recipe, const std::vector<std::string>& allow)
    : recipe_(std::move(recipe)),
      task_(runs::make_task(recipe_)),
      model_(task_->make_model()),
      average_(task_->make_model()),
      directory_(folder_of_a_possible_run(recipe_, *task_, *model_)),
      store_(directory_.path(), recipe_.checkpoint) {
  log_info(describe(*model_, estimate(*model_, recipe_, task_->data_info())));
  if (const std::string rounding = rounding_of_experts(*model_); !rounding.empty()) {
    log_warning(rounding);
  }
  const int64_t threads = runs::use_threads(recipe_);
  const nn::Placement placement = runs::placement_of(recipe_);
  const runs::Environment environment = runs::environment_of(threads, placement.device.str());
  log_info("data: ", task_->data_info().count, " samples of ", task_->data_info().path,
           "; running on ", placement.device.str(), ", ", threads, " threads, products in ",
           recipe_.train.precision);
  const auto checkpoint = store_.newest();
  const bool evaluates = recipe_.eval.every > 0;
  if (evaluates) {
    data::DatasetInfo held_out = task_->held_out_info();
    held_out.class_names.clear();  // those of the training split
    held_out_ = runs::to_metadata(held_out);
  }
  runs::ResumeChanges changed;
  std::optional<runs::Recipe> before;
  if (checkpoint) {
    before = runs::recipe_of(checkpoint->path);
    changed = runs::compare_with_checkpoint(
        checkpoint->path, runs::CheckpointStore::load(checkpoint->path),
        {.recipe = recipe_,
         .data = task_->data_info(),
         .held_out = evaluates ? std::optional(task_->held_out_info()) : std::nullopt,
         .allow = allow});
  } else {
    runs::require_known_keys(allow, {&recipe_});
  }

  const auto seed = static_cast<uint64_t>(recipe_.seed);
  model_->materialize(seed, placement);
  average_->materialize(seed, placement, false);
  parameters_ = trainable_parameters(*model_);
  optimizer_ = config::make<Optimizer>(recipe_.optimizer, {parameters_});
  schedule_ = config::make<Schedule>(recipe_.schedule, {recipe_.train.steps});

  if (checkpoint) {
    runs::Snapshot snapshot = runs::CheckpointStore::load(checkpoint->path);
    const std::string what = checkpoint->path.string();
    models::load_weights(*model_, by_name(std::move(snapshot.model)), what + "/model.safetensors");
    const auto share = snapshot.ema_metadata.find("first_values");
    const bool known = share != snapshot.ema_metadata.end();
    models::load_weights(*average_, by_name(std::move(snapshot.ema)), what + "/ema.safetensors");
    optimizer_->load_state(by_name(std::move(snapshot.optimizer)));
    state_ = runs::state_of(checkpoint->path, snapshot);
    if (!evaluates) held_out_ = snapshot.model_metadata["held_out"];  // for a session that does
    saved_step_ = logged_step_ = state_.step;
    log_info("going on from step ", state_.step, " and sample ", state_.samples, " (", what, ")");
    for (const std::string& line : changed.accepted) log_info("changed since: ", line);
    for (const std::string& line : changed.warnings) log_warning("changed since: ", line);
    for (const std::string& line : runs::differences(state_.environment, environment)) {
      log_warning(
          "not as before: ", line,
          "; results may differ in their last digits from those of a run that stayed as it was");
    }
    first_values_ = known ? runs::first_values_share(snapshot.ema_metadata, recipe_.ema).value_or(1)
                          : runs::first_values_share(recipe_.ema, state_.applied);
    const std::string jump = before ? rate_jump(*before, recipe_, state_.step) : "";
    if (!jump.empty() && state_.step < recipe_.train.steps) log_warning(jump);
  } else {
    if (!recipe_.init.weights.empty()) {
      for (const std::string& line :
           runs::start_from(*model_, recipe_.init, task_->data_info().class_names)) {
        log_info(line);
      }
      const auto not_finite = runs::non_finite_tensors(models::named_tensors(*model_));
      require(not_finite.empty(), "the weights to start from (init.weights = '",
              recipe_.init.weights, "') hold NaN or infinite values: ", join_list(not_finite));
    }
    copy_weights(*model_, *average_);
  }
  state_.environment = environment;
  directory_.write_recipe(recipe_);
  log_ = std::make_unique<runs::RunLog>(
      directory_.path(), runs::RunLog::Options{recipe_.log.tensorboard, state_.step});
  log_->text(state_.step, "recipe", "```toml\n" + config::to_toml(recipe_) + "```");
  logged_seconds_ = state_.seconds;
}

Trainer::~Trainer() = default;

Ended Trainer::run(int64_t until) {
  const int64_t steps = recipe_.train.steps;
  if (complete()) {
    log_info("nothing to do: this run ended at step ", state_.step,
             ". More steps: --set train.steps=N");
    return Ended::finished;
  }
  const int64_t samples_per_step = recipe_.train.batch * recipe_.train.accumulate;
  progress_ = std::make_unique<Progress>(
      ProgressOptions{.label = "train",
                      .unit = "image",
                      .units_per_step = static_cast<double>(samples_per_step),
                      .total = steps,
                      .start = state_.step});
  task_->start(state_.step * recipe_.train.accumulate, state_.samples);
  try {
    interval_work();  // what a stop left over
    take_steps(until);
    if (state_.step >= steps) {
      finish();
      return Ended::finished;
    }
  } catch (const Interrupted&) {  // stopped, as below
  } catch (...) {
    save_what_is_there();
    throw;
  }
  return stop();
}

void Trainer::take_steps(int64_t until) {
  while (state_.step < std::min(until, recipe_.train.steps)) {
    const double began = now();
    StepReport report = train_step();
    between_steps_ = false;
    const bool applied = apply(report);
    state_.step += 1;
    state_.samples += static_cast<int64_t>(report.samples.size());
    state_.replaced += report.replaced;
    state_.seconds += now() - began;
    if (applied) {
      log_step(report);
    } else {
      skip(report);
    }
    between_steps_ = true;
    if (state_.step < recipe_.train.steps && state_.step >= until) return;
    leave_if_asked();
    const double paused = now();
    interval_work();
    // After a step that was not applied the weights may be at fault, finite as they are: they must
    // not take the place of a good checkpoint.
    save_due_ = save_due_ || due(recipe_.checkpoint.every);
    if (save_due_ && state_.skipped_in_row == 0) save_and_go_on();
    if (const auto result = saver_.poll()) note(*result);
    state_.seconds += now() - paused;
  }
}

void Trainer::interval_work() {
  if (due(recipe_.eval.every) && state_.evaluated != state_.step) evaluate();
  if (due(recipe_.sample.every) && state_.drawn != state_.step) draw_sheet();
}

Ended Trainer::stop() {
  finish_save();
  if (saved_step_ != state_.step) save();
  progress_->finish();
  log_info("stopped at step ", state_.step, " of ", recipe_.train.steps,
           "; the same command goes on from here");
  return Ended::stopped;
}

void Trainer::save_what_is_there() {
  if (!between_steps_) return;
  clear_gradients(parameters_);  // of micro-batches whose step was not taken
  try {
    finish_save();
    if (state_.step == 0 || saved_step_ == state_.step) return;
    save();
    log_info("the ", state_.step, " steps so far are saved; the same command goes on from there");
  } catch (const std::exception& error) {
    log_warning("step ", state_.step, " could not be saved on the way out: ", error.what());
  }
}

bool Trainer::complete() const {
  return state_.step >= recipe_.train.steps && state_.exact_thresholds &&
         (recipe_.eval.every == 0 || state_.evaluated == state_.step) &&
         (recipe_.sample.every == 0 || state_.drawn == state_.step);
}

bool Trainer::due(int64_t every) const {
  return every > 0 && state_.step > 0 && state_.step % every == 0 &&
         state_.step < recipe_.train.steps;
}

Trainer::StepReport Trainer::train_step() {
  StepReport report;
  const int64_t micro_batches = recipe_.train.accumulate;
  const double share = 1.0 / static_cast<double>(micro_batches);
  for (int64_t i = 0; i < micro_batches; ++i) {
    tasks::TrainOutput out = task_->train(*model_, state_.step * micro_batches + i);
    if (recipe_.train.check) check_scores(out);
    at::Tensor total;
    std::set<std::string> names;
    const auto add = [&](const std::string& name, const at::Tensor& value) {
      const std::string logged = name_of_task_value(name);
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
    auto& pending = report.pending.emplace_back();
    for (sparse::RoutingRecord& record : out.routing) {
      std::move(record.pending.begin(), record.pending.end(), std::back_inserter(pending));
    }
    if (i + 1 == micro_batches && !out.routing.empty()) {
      const at::NoGradGuard no_grad;
      report.routing.emplace().add(out.routing);
    }
  }
  report.values["grad_norm"] = global_norm(parameters_);
  return report;
}

void Trainer::check_scores(const tasks::TrainOutput& out) const {
  try {
    sparse::require_finite_scores(out.routing);
  } catch (const Error& error) {
    fail("step ", state_.step + 1, ", ", error.what());
  }
}

bool Trainer::apply(StepReport& report) {
  if (report.finite()) {
    report.spike = state_.spikes.spike(report.loss(), report.norm(), recipe_.train.spike);
  }
  const double average_decay = recipe_.ema.decay_at(state_.applied);
  if (report.finite() && report.spike.empty()) {
    const double factor = schedule_->factor(state_.step);
    report.values["lr"] = factor * optimizer_->learning_rate();
    report.overflown =
        optimizer_->take({.applied = state_.applied + 1,
                          .factor = factor,
                          .gradient_scale = clip_factor(report.norm(), recipe_.train.clip),
                          .gradient_norm = report.norm(),
                          .averages = {trainable_parameters(*average_), average_decay}});
  }
  const bool applied = report.finite() && report.spike.empty() && report.overflown.empty();
  if (applied) {
    for (const auto& pending : report.pending) {
      const sparse::AppliedStep step(state_.applied, &pending == &report.pending.back());
      for (const sparse::PendingUpdate& update : pending) update.commit(step);
    }
    copy_untrained(*model_, *average_);
    first_values_ *= average_decay;
    state_.applied += 1;
    state_.skipped_in_row = 0;
    state_.spikes.add(report.loss(), report.norm());
    state_.exact_thresholds = false;
    clear_gradients(parameters_);
  } else {
    state_.skipped += 1;
    state_.skipped_in_row += 1;
    state_.skipped_spikes += report.spike.empty() ? 0 : 1;
  }
  return applied;
}

void Trainer::skip(const StepReport& report) {
  std::string cause = report.spike;
  if (cause.empty()) {
    const NonFiniteStep step{state_.step, report.values, report.samples,
                             first_non_finite_gradient(parameters_), report.overflown};
    cause = step.text();
    if (recipe_.train.dump_nonfinite) {
      try_to_write("dump of the step", state_.step,
                   [&] { step.dump(*model_, directory_.path() / "nonfinite"); });
    }
  }
  clear_gradients(parameters_);
  std::string samples;
  for (const int64_t sample : report.samples) samples += " " + std::to_string(sample);
  log_warning("step ", state_.step, " was not applied: ", cause,
              "; samples of the batch:", samples);
  record("skipped", {{"skipped", static_cast<double>(state_.skipped)},
                     {"skipped_in_row", static_cast<double>(state_.skipped_in_row)},
                     {"skipped_spikes", static_cast<double>(state_.skipped_spikes)}});
  require(state_.skipped_in_row < recipe_.train.max_skipped, "stopped at step ", state_.step, ": ",
          state_.skipped_in_row,
          " steps in a row were not applied (train.max_skipped), the last because ", cause,
          ". The weights are those of the last applied step; a lower learning rate or clipping "
          "may help. Where no step works from the newest checkpoint either, remove that one to go "
          "on from the one before.");
}

void Trainer::log_step(const StepReport& report) {
  for (const auto& [name, value] : report.values) state_.sums[name] += value;
  state_.summed_steps += 1;

  std::string note = "loss " + fixed(report.values.at("loss"), 4);
  if (report.routing) {
    sparse::RoutingStatistics routing = report.routing->statistics();
    if (routing.active == 0) {
      routing = report.routing->statistics(report.routing->choices().front());
    }
    note += "  MaxVio " + fixed(routing.max_violation, 2);
  }
  progress_->update(state_.step, note + routing_note_);

  if (state_.step % recipe_.log.every != 0 && state_.step != recipe_.train.steps) return;
  Values means;
  for (const auto& [name, sum] : state_.sums) {
    means[name] = sum / static_cast<double>(state_.summed_steps);
  }
  means["lr"] = report.values.at("lr");
  if (report.routing) {
    for (const sparse::Choice choice : report.routing->choices()) {
      const sparse::RoutingStatistics routing = report.routing->statistics(choice);
      means[of_choice(choice) + "max_violation"] = routing.max_violation;
      means[of_choice(choice) + "starved"] = routing.starved;
    }
  }
  state_.last_train = means;
  // Rates are of this machine and moment, and no part of the state that a resumed run must repeat.
  auto line = ordered(means);
  const double seconds = state_.seconds - logged_seconds_;
  if (seconds > 0) {
    const int64_t samples = recipe_.train.batch * recipe_.train.accumulate;
    line.emplace_back("images_per_second",
                      static_cast<double>((state_.step - logged_step_) * samples) / seconds);
  }
  line.emplace_back("seconds", state_.seconds);
  if (state_.replaced > 0) line.emplace_back("replaced", static_cast<double>(state_.replaced));
  record("train", line);
  state_.sums.clear();
  state_.summed_steps = 0;
  logged_step_ = state_.step;
  logged_seconds_ = state_.seconds;
}

void Trainer::warn_of_young_average() {
  const std::string young = runs::young_average(first_values_);
  if (!young.empty() && std::exchange(warned_, state_.step) != state_.step) {
    log_warning("step ", state_.step, ": ", young);
  }
}

void Trainer::evaluate() {
  const tasks::EvalOutput out =
      task_->evaluate(*average_, [](int64_t, int64_t) { leave_if_asked(); });
  state_.evaluated = state_.step;
  Values values;
  std::string text;
  for (const auto& [name, value] : out.losses) {
    values[name_of_task_value(name)] = value;
    text += " " + name + " " + fixed(value, 4);
  }
  if (out.active > 0) {
    values["experts_per_token"] = out.experts_per_token;
    values["max_violation"] = out.max_violation;
    values["starved"] = out.starved;
    routing_note_ = "  k " + fixed(out.experts_per_token, 2);
    text += ", experts a token " + fixed(out.experts_per_token, 3) + ", MaxVio " +
            fixed(out.max_violation, 2) + ", tokens without an expert " +
            fixed(100 * out.starved, 1) + " %";
  }
  for (const auto& [name, routing] : out.others) {
    values[name + "_per_token"] = routing.experts_per_token;
    values[name + "_max_violation"] = routing.max_violation;
    values[name + "_starved"] = routing.starved;
    text += ", " + name + " a token " + fixed(routing.experts_per_token, 3) + ", their MaxVio " +
            fixed(routing.max_violation, 2);
  }
  if (out.replaced > 0) {
    values["replaced"] = static_cast<double>(out.replaced);
    text += ", " + std::to_string(out.replaced) + " of the samples could not be read";
  }
  state_.last_eval = values;
  record("eval", ordered(values));
  log_info("step ", state_.step, ", held-out (", out.samples, " samples, EMA weights):", text);
  warn_of_young_average();
  if (compute::has_thresholds(*average_) && out.active > 0 &&
      std::abs(out.experts_per_token - out.active) > 0.05 * out.active) {
    log_warning("step ", state_.step, ": the EMA weights use ", fixed(out.experts_per_token, 3),
                " experts a token by threshold, more than 5 % from the ", out.active,
                " that training uses; `gallop calibrate` sets the thresholds exactly");
  }
}

void Trainer::draw_sheet() {
  tasks::SampleRequest request = runs::sample_request(recipe_);
  request.progress = [](int64_t, int64_t) { leave_if_asked(); };
  try_to_write("sample sheet", state_.step, [&] {
    const formats::Image sheet =
        runs::draw_sample_sheet(*task_, *average_, request, recipe_.sample.per_class);
    formats::write_png(directory_.sample_file(state_.step), sheet);
    log_->image(state_.step, "samples", sheet);
  });
  state_.drawn = state_.step;
  warn_of_young_average();
}

runs::Snapshot Trainer::snapshot() const {
  const std::string data = runs::to_metadata(task_->data_info());
  const std::string threshold = !compute::has_thresholds(*model_) ? "none"
                                : state_.exact_thresholds         ? "exact"
                                                                  : "moving average";
  runs::Snapshot snapshot{.step = state_.step,
                          .model = models::named_tensors(*model_),
                          .ema = models::named_tensors(*average_),
                          .optimizer = optimizer_->state(),
                          .state = state_.to_json()};
  snapshot.model_metadata = {
      {"format", "gallop"},  {"role", "model"},
      {"run", recipe_.name}, {"step", std::to_string(state_.step)},
      {"data", data},        {"threshold", threshold == "exact" ? "moving average" : threshold}};
  if (!held_out_.empty()) snapshot.model_metadata["held_out"] = held_out_;
  snapshot.ema_metadata = snapshot.model_metadata;
  snapshot.ema_metadata["role"] = "ema";
  snapshot.ema_metadata["threshold"] = threshold;
  snapshot.ema_metadata["decay"] = std::to_string(recipe_.ema.decay);
  snapshot.ema_metadata["first_values"] = runs::share_to_metadata(first_values_);
  return snapshot;
}

void Trainer::save() {
  finish_save();
  log_->sync();  // a resumed run does not write these lines again
  store_.save(snapshot(), config::to_toml(recipe_));
  saved_step_ = state_.step;
}

void Trainer::save_and_go_on() {
  save_due_ = false;
  if (recipe_.checkpoint.background_save) finish_save();
  try_to_write("checkpoint", state_.step, [&] {
    if (!recipe_.checkpoint.background_save) return save();
    saver_.start(snapshot(), config::to_toml(recipe_), [this] { log_->sync(); });
  });
}

void Trainer::finish_save() {
  if (const auto result = saver_.wait()) note(*result);
}

void Trainer::note(const runs::SaveResult& result) {
  try_to_write("checkpoint", result.step, [&] {
    if (!result.error.empty()) fail(result.error);
    saved_step_ = result.step;
  });
}

void Trainer::try_to_write(const std::string& what, int64_t step,
                           const std::function<void()>& write) const {
  try {
    write();
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception& error) {  // of the disk, or of memory
    if (recipe_.checkpoint.on_error == "stop") throw;
    log_warning("no ", what, " of step ", step, ": ", runs::reason_of(error),
                "; training goes on (checkpoint.on_error)");
  }
}

void Trainer::record(const std::string& kind,
                     const std::vector<std::pair<std::string, double>>& values) {
  try_to_write("log line", state_.step, [&] { log_->write(state_.step, kind, values); });
}

void Trainer::finish() {
  const double began = now();
  // What comes now may need memory that is not there, and time: the steps are safe before.
  finish_save();
  if (saved_step_ != state_.step) try_to_write("checkpoint", state_.step, [&] { save(); });
  if (!state_.exact_thresholds) {
    bool calibrated = false;
    try {
      calibrated =
          !compute::calibrate(*task_, *average_, compute::calibration_batches, [](int64_t) {
             leave_if_asked();
           }).empty();
    } catch (const Error& error) {  // a damaged sample, say: no reason to lose the end of a run
      log_warning("the thresholds of the EMA weights stay as training left them: ", error.what(),
                  "; `gallop calibrate` sets them exactly");
    }
    state_.exact_thresholds = true;
    // What was saved, evaluated or drawn at this step had other thresholds.
    saved_step_ = -1;
    state_.evaluated = state_.drawn = 0;
    if (calibrated) {
      log_info("thresholds of the EMA weights set exactly on ", compute::calibration_batches,
               " batches of training data");
    }
  }
  if (recipe_.eval.every > 0 && state_.evaluated != state_.step) evaluate();
  if (recipe_.sample.every > 0 && state_.drawn != state_.step) draw_sheet();
  state_.seconds += now() - began;
  save();
  progress_->finish();
  log_info("done: ", state_.step, " steps in ", human_duration(state_.seconds), " (",
           state_.skipped, " skipped), peak memory ", human_bytes(peak_resident_memory()), "; ",
           directory_.path().string());
}

}  // namespace gallop::training
