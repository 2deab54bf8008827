#include "gallop/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/compute/estimate.h"
#include "gallop/config/print.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/device.h"
#include "gallop/runs/finite.h"
#include "gallop/runs/initial_weights.h"
#include "gallop/runs/metadata.h"
#include "gallop/runs/restore.h"
#include "gallop/runs/resume.h"
#include "gallop/runs/young_average.h"
#include "gallop/tasks/generator.h"
#include "gallop/training/ema.h"
#include "gallop/training/rate_jump.h"

namespace gallop::training {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::map<std::string, at::Tensor> by_name(runs::NamedTensors&& tensors) {
  return {std::move_iterator(tensors.begin()), std::move_iterator(tensors.end())};
}

// Where the run shall lie; throws before anything is written if it could not be trained.
std::string folder_of_a_possible_run(const runs::Recipe& recipe, const tasks::Task& task,
                                     const models::Model& model) {
  if (recipe.eval.every > 0) task.description(tasks::Split::held_out);
  compute::require_memory(compute::estimate(model, recipe, task.memory()), recipe.memory_limit);
  if (recipe.sample.every > 0) {
    if (const tasks::Generator* generator = task.generator()) {
      generator->sheet(model);
    } else {
      log_info("sample.every = ", recipe.sample.every, " has no effect: the task '",
               recipe.task.kind(), "' generates nothing");
    }
  }
  return recipe.out;
}

const collectives::World& one_process(const collectives::World& world) {
  require(world.size == 1, "training on several processes is not there yet, and this is process ",
          world.rank, " of ", world.size, ": start one");
  return world;
}

}  // namespace

Trainer::Trainer(runs::Recipe recipe, const std::vector<std::string>& allow,
                 const collectives::World& world)
    : recipe_(std::move(recipe)),
      task_(runs::make_task(recipe_, {}, one_process(world))),
      model_(task_->make_model()),
      average_(task_->make_model()),
      directory_(folder_of_a_possible_run(recipe_, *task_, *model_)),
      store_(directory_.path(), recipe_.checkpoint) {
  log_info(compute::describe(*model_, compute::estimate(*model_, recipe_, task_->memory())));
  if (const std::string rounding = compute::rounding_of_experts(*model_); !rounding.empty()) {
    log_warning(rounding);
  }
  const int64_t threads = runs::use_threads(recipe_);
  const nn::Placement placement = runs::placement_of(recipe_);
  const runs::Environment environment = runs::environment_of(threads, placement.device.str());
  log_info("data: ", task_->data_text(), "; running on ", placement.device.str(), ", ", threads,
           " threads, products in ", recipe_.train.precision);
  const auto checkpoint = store_.newest();
  if (recipe_.eval.every > 0) held_out_ = task_->description(tasks::Split::held_out).dump();
  runs::ResumeChanges changes;
  if (checkpoint) {
    changes = compare(*checkpoint, allow);
  } else {
    runs::require_known_keys(allow, {&recipe_}, *task_);
  }

  const auto seed = static_cast<uint64_t>(recipe_.seed);
  model_->materialize(seed, placement);
  average_->materialize(seed, placement, false);
  stepper_.emplace(recipe_, *task_, *model_, *average_);
  if (checkpoint) {
    go_on_from(*checkpoint, changes, environment);
  } else {
    start_fresh();
  }
  state_.environment = environment;
  directory_.write_recipe(recipe_);
  log_ = std::make_unique<runs::RunLog>(
      directory_.path(), runs::RunLog::Options{recipe_.log.tensorboard, state_.step});
  const std::string recipe_toml = config::to_toml(recipe_);
  log_->artifact(state_.step, {"recipe", formats::Text{"```toml\n" + recipe_toml + "```"}});
  run_.emplace(Run{recipe_, *task_, *model_, *average_, directory_, *log_, state_,
                   [this] { stepper_->settle_average(); }, stepper_->first_values});
  checkpoints_.emplace(store_, *run_, recipe_toml, [this] { return snapshot(); });
  if (checkpoint) checkpoints_->resumed_from(state_.step);
  for (const auto& activity : activities_) activity->begin(*run_);
}

Trainer::~Trainer() = default;

runs::ResumeChanges Trainer::compare(const runs::SavedCheckpoint& checkpoint,
                                     const std::vector<std::string>& allow) {
  return runs::compare_with_checkpoint(checkpoint.path,
                                       runs::CheckpointStore::load(checkpoint.path),
                                       {.recipe = recipe_, .task = *task_, .allow = allow});
}

void Trainer::go_on_from(const runs::SavedCheckpoint& checkpoint,
                         const runs::ResumeChanges& changes, const runs::Environment& environment) {
  const std::string what = checkpoint.path.string();
  runs::Snapshot snapshot = runs::CheckpointStore::load(checkpoint.path);
  models::load_weights(*model_, by_name(std::move(snapshot.model)), what + "/model.safetensors");
  models::load_weights(*average_, by_name(std::move(snapshot.ema)), what + "/ema.safetensors");
  stepper_->load_optimizer_state(by_name(std::move(snapshot.optimizer)));
  state_ = runs::state_of(checkpoint.path, snapshot);
  for (const auto& activity : activities_) {
    const auto found = state_.activities.find(activity->name());
    if (found != state_.activities.end()) activity->restore(found->second);
  }
  // For a session that evaluates.
  if (recipe_.eval.every == 0) held_out_ = snapshot.model_metadata["held_out"];
  log_info("going on from step ", state_.step, " and sample ", state_.samples, " (", what, ")");
  for (const std::string& line : changes.accepted) log_info("changed since: ", line);
  for (const std::string& line : changes.warnings) log_warning("changed since: ", line);
  for (const std::string& line : runs::differences(state_.environment, environment)) {
    log_warning("not as before: ", line,
                "; results may differ in their last digits from those of a run that stayed as it "
                "was");
  }
  const bool known = snapshot.ema_metadata.contains("first_values");
  stepper_->first_values =
      known ? runs::first_values_share(snapshot.ema_metadata, recipe_.ema).value_or(1)
            : runs::first_values_share(recipe_.ema, state_.applied);
  const std::string jump = rate_jump(runs::recipe_of(checkpoint.path), recipe_, state_.step);
  if (!jump.empty() && state_.step < recipe_.train.steps) log_warning(jump);
}

void Trainer::start_fresh() {
  if (!recipe_.init.weights.empty()) {
    for (const std::string& line :
         runs::start_from(*model_, recipe_.init, task_->description(tasks::Split::train))) {
      log_info(line);
    }
    const auto not_finite = runs::non_finite_tensors(models::named_tensors(*model_));
    require(not_finite.empty(), "the weights to start from (init.weights = '", recipe_.init.weights,
            "') hold NaN or infinite values: ", join_list(not_finite));
  }
  update_ema(*model_, *average_, 0);
}

Ended Trainer::run(int64_t until) {
  if (complete()) {
    log_info("nothing to do: this run ended at step ", state_.step,
             ". More steps: --set train.steps=N");
    return Ended::finished;
  }
  const int64_t samples_per_step = recipe_.train.batch * recipe_.train.accumulate;
  run_->progress = std::make_unique<Progress>(
      ProgressOptions{.label = "train",
                      .unit = task_->unit(),
                      .units_per_step = static_cast<double>(samples_per_step),
                      .total = recipe_.train.steps,
                      .start = state_.step});
  try {
    between_steps();  // what a stop left over
    take_steps(until);
    if (state_.step >= recipe_.train.steps) {
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
    StepReport report = stepper_->compute(state_);
    steps_are_whole_ = false;
    stepper_->apply(report, state_);
    state_.seconds += now() - began;
    for (const auto& activity : activities_) activity->after_step(*run_, report);
    stepper_->forget_gradients();
    steps_are_whole_ = true;
    if (state_.step < recipe_.train.steps && state_.step >= until) return;
    // With several processes they all stop at one step, where they have agreed to.
    if (report.stop) throw Interrupted{};
    if (task_->args().world.size == 1) leave_if_asked();
    const double paused = now();
    between_steps();
    checkpoints_->after_step();
    state_.seconds += now() - paused;
  }
}

void Trainer::between_steps() {
  for (const auto& activity : activities_) activity->between_steps(*run_);
}

Ended Trainer::stop() {
  checkpoints_->wait();
  if (!checkpoints_->has(state_.step)) checkpoints_->save();
  run_->progress->finish();
  log_info("stopped at step ", state_.step, " of ", recipe_.train.steps,
           "; the same command goes on from here");
  return Ended::stopped;
}

void Trainer::save_what_is_there() {
  if (!steps_are_whole_) return;
  stepper_->forget_gradients();  // of micro-batches whose step was not taken
  try {
    checkpoints_->wait();
    if (state_.step == 0 || checkpoints_->has(state_.step)) return;
    checkpoints_->save();
    log_info("the ", state_.step, " steps so far are saved; the same command goes on from there");
  } catch (const std::exception& error) {
    log_warning("step ", state_.step, " could not be saved on the way out: ", error.what());
  }
}

bool Trainer::complete() const {
  return state_.step >= recipe_.train.steps &&
         std::ranges::all_of(activities_,
                             [&](const auto& activity) { return activity->complete(*run_); });
}

runs::Snapshot Trainer::snapshot() const {
  runs::RunState state = state_;
  for (const auto& activity : activities_) state.activities[activity->name()] = activity->state();
  stepper_->settle_average();
  runs::Snapshot snapshot{.step = state.step,
                          .model = models::named_tensors(*model_),
                          .ema = models::named_tensors(*average_),
                          .optimizer = stepper_->optimizer_state(),
                          .state = state.to_json()};
  snapshot.model_metadata = runs::model_metadata(
      recipe_, state,
      {.data = task_->description(tasks::Split::train).dump(), .held_out = held_out_}, *model_);
  snapshot.ema_metadata = runs::ema_metadata(snapshot.model_metadata, recipe_, state);
  snapshot.ema_metadata["first_values"] = runs::share_to_metadata(stepper_->first_values);
  return snapshot;
}

void Trainer::finish() {
  const double began = now();
  // What comes now may need memory that is not there, and time: the steps are safe before.
  checkpoints_->wait();
  if (!checkpoints_->has(state_.step)) {
    run_->or_warn("checkpoint", [&] { checkpoints_->save(); });
  }
  for (const auto& activity : activities_) {
    activity->at_end(*run_);
    if (!std::exchange(run_->average_changed, false)) continue;
    checkpoints_->outdated();
    for (const auto& other : activities_) other->average_changed();
  }
  state_.seconds += now() - began;
  checkpoints_->save();
  run_->progress->finish();
  log_info("done: ", state_.step, " steps in ", human_duration(state_.seconds), " (",
           state_.skipped, " skipped), peak memory ", human_bytes(peak_resident_memory()), "; ",
           directory_.path().string());
}

}  // namespace gallop::training
