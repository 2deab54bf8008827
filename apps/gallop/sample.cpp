// gallop sample: draws images with trained weights.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/progress.h"
#include "gallop/command.h"
#include "gallop/compute/dial.h"
#include "gallop/compute/int8_check.h"
#include "gallop/config/value.h"
#include "gallop/data/class_labels.h"
#include "gallop/formats/npz.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/number_options.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/options.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/device.h"
#include "gallop/runs/restore.h"
#include "gallop/setting_options.h"
#include "gallop/sparse/choice/mixing.h"
#include "gallop/tasks/generator.h"

namespace gallop {
namespace {

constexpr int64_t int8_check_samples = 256;

// The settings of a request, as a recipe has them.
constexpr const char* settings_table = "task.sample.";

struct SampleArguments {
  std::string weights, each;
  std::vector<std::string> labels, names, out, set;
  SettingOptions settings;
  std::vector<double> interval;
  std::optional<int64_t> int8_check;
  std::optional<uint64_t> seed;
  std::optional<double> active;
  bool raw = false, int8 = false;
};

// What the name of a file asks for: all together to look at, or the tensors.
enum class Format { shown, safetensors, npz };

Format format_of(const fs::path& file) {
  const std::string extension = file.extension().string();
  if (extension == ".safetensors") return Format::safetensors;
  if (extension == ".npz") return Format::npz;
  for (const char* shown : {".png", ".md", ".csv", ".svg"})
    if (extension == shown) return Format::shown;
  fail("--out ", file.string(),
       ": the name must end in .png (a sheet; where a task makes no pictures .md, .csv or .svg), "
       ".safetensors or .npz");
}

/// What options say of the settings: the option, the key, the value as TOML.
struct Stated {
  std::string option, key, value;
};

std::vector<Stated> stated_settings(const SampleArguments& a) {
  std::vector<Stated> stated;
  for (const auto& [key, value] : a.settings.given())
    stated.push_back({option_of(key), key, value});
  if (!a.interval.empty()) {
    require(a.interval.size() == 2, "--guidance-interval takes two noise levels, FROM,TO, not ",
            a.interval.size());
    const char* option = "--guidance-interval";
    stated.push_back({option, "guidance_from", config::to_text(a.interval[0])});
    stated.push_back({option, "guidance_to", config::to_text(a.interval[1])});
  }
  if (a.seed) stated.push_back({"--seed", "seed", config::to_text(std::to_string(*a.seed))});
  std::vector<std::string> labels;
  for (const std::string& list : a.labels) {
    for (const data::LabelText& label : data::split_labels(list))
      labels.push_back(data::entry_of(label));
  }
  for (const std::string& name : a.names) labels.push_back(data::entry_of({.text = name}));
  if (!labels.empty()) stated.push_back({"--labels", "labels", config::to_text(labels)});
  return stated;
}

/// The recipe's keys that options stand for, as overrides: all are applied together, the kind of a
/// component before its settings.
std::vector<std::string> overrides_of(const SampleArguments& a) {
  std::vector<std::string> set = a.set;
  for (const auto& [option, key, value] : stated_settings(a)) {
    require_not_set(a.set, option, {settings_table + key, settings_table + key + ".kind"});
    set.push_back(settings_table + key + "=" + value);
  }
  if (a.seed) require_not_set(a.set, "--seed", {"seed"});
  const std::string held_out = "task.eval.samples";
  if (a.int8_check && *a.int8_check > 0) {
    override_by_option(set, "--int8-check", held_out, config::to_text(*a.int8_check));
  } else if (a.int8 && !a.int8_check &&
             !config::is_stated(config::keys_of_overrides(set, runs::Recipe().layout()),
                                held_out)) {
    override_by_option(set, "--int8", held_out, config::to_text(int8_check_samples));
  }
  return set;
}

/// What is asked for. Throws Error for an option that does nothing for this model.
tasks::Plan make_plan(const SampleArguments& arguments, const tasks::Generator& generator,
                      const models::Model& model) {
  tasks::Plan plan = generator.plan(model, *generator.settings());
  for (const auto& [option, key, value] : stated_settings(arguments)) {
    for (const auto& [without, reason] : plan.without_effect)
      require(key != without, option, ": ", reason);
  }
  for (const std::string& note : plan.notes) log_info(note);
  return plan;
}

/// Says where samples depend on what is drawn beside them.
void warn_of_mixing(const models::Model& model, const tasks::Plan& plan) {
  const auto mixing = sparse::selections_that_mix_samples(model);
  if (mixing.empty()) return;
  log_warning(
      "samples depend on those drawn beside them, since they compete for experts in ",
      mixing.front(),
      mixing.size() > 1 ? " and " + std::to_string(mixing.size() - 1) + " other layers" : "",
      ": --batch ", plan.rows,
      ", --first, --count, the labels and the guidance are part of what is drawn");
}

std::vector<tasks::Made> draw(const runs::Restored& restored, const tasks::Plan& plan) {
  const auto count = static_cast<double>(plan.requests.size());
  std::optional<Progress> progress;
  return tasks::generate(
      *restored.task->generator(), *restored.model, plan, [&](int64_t done, int64_t total) {
        if (!progress)
          progress.emplace(ProgressOptions{.label = "sample",
                                           .unit = restored.task->unit(),
                                           .units_per_step = count / static_cast<double>(total),
                                           .total = total});
        progress->update(done);
      });
}

/// What the weights in 8 bits change, as text.
std::string measure_int8(const runs::Restored& restored, const ops::Int8Weights& weights,
                         const tasks::Plan& plan) {
  std::optional<Progress> progress;
  const compute::Int8Check check = compute::check_int8(
      *restored.task, *restored.model, weights, plan, [&](int64_t done, int64_t total) {
        if (!progress)
          progress.emplace(ProgressOptions{.label = "float32 and 8 bits", .total = total});
        progress->update(done);
      });
  return compute::describe(check);
}

void write_shown(const fs::path& file, const formats::Artifact& artifact) {
  const std::string ending = formats::ending_of(artifact);
  require(file.extension() == ending, "'", file.string(), "': what this task makes is shown in a '",
          ending, "' file: name one");
  write_file_atomically(file, formats::to_file(artifact));
}

void write_dump(const fs::path& file, const std::vector<tasks::Made>& made, const tasks::Plan& plan,
                const runs::Restored& restored, bool int8) {
  const tasks::Generator& generator = *restored.task->generator();
  const auto tensors = generator.tensors(plan, made);
  if (format_of(file) == Format::safetensors) {
    formats::Metadata metadata;
    for (const auto& [key, value] : generator.how(plan)) metadata[key] = value;
    metadata["precision"] = int8 ? "int8" : "float32";
    metadata["weights"] = restored.weights.string();
    nn::save_tensors(file, tensors, metadata);
    return;
  }
  std::vector<formats::TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(nn::view_of(name, tensor));
  formats::write_npz(file, views);
}

std::optional<compute::DialSetting> dial_of(const SampleArguments& arguments,
                                            const runs::Restored& restored) {
  if (!arguments.active) return {};
  const fs::path dial = runs::folder_of(arguments.weights) / compute::dial_file;
  require(fs::exists(dial), "--active needs the compute dial of these weights, and there is no ",
          dial.string(), ": run `gallop calibrate ", arguments.weights, " --active ",
          *arguments.active, "` first");
  compute::DialSetting setting = compute::load_dial(dial, *arguments.active, restored.metadata);
  compute::require_fit(*restored.model, setting);
  return setting;
}

void sample(const SampleArguments& arguments) {
  for (const std::string& file : arguments.out) format_of(file);  // before anything costs time
  require(!arguments.raw || fs::is_directory(arguments.weights),
          "--raw chooses between the two weights of a run or a checkpoint, and '",
          arguments.weights, "' is not the folder of one");
  require(arguments.int8 || !arguments.int8_check, "--int8-check belongs to --int8");
  const runs::Restored restored =
      runs::restore(arguments.weights, !arguments.raw, overrides_of(arguments));
  const tasks::Generator& generator =
      tasks::require_generator(*restored.task, restored.recipe.task.kind());
  runs::use_threads(restored.recipe);
  const std::optional<compute::DialSetting> dial = dial_of(arguments, restored);
  const std::string not_shown = generator.not_shown();
  std::vector<std::string> out = arguments.out;
  const bool by_default = out.empty() && arguments.each.empty();
  if (by_default && !not_shown.empty()) out = {"samples.safetensors"};
  const bool shown =
      !arguments.each.empty() || std::any_of(out.begin(), out.end(), [](const std::string& file) {
        return format_of(file) == Format::shown;
      });
  require(not_shown.empty() || !shown, not_shown);
  tasks::Plan plan = make_plan(arguments, generator, *restored.model);
  for (tasks::Request& request : plan.requests) {
    if (dial) request.thresholds = &dial->thresholds;
  }
  warn_of_mixing(*restored.model, plan);

  // A folder that cannot be written is better known before the samples are drawn.
  if (!arguments.each.empty()) file_system().make_directories(arguments.each);
  for (const fs::path file : out)
    if (file.has_parent_path()) file_system().make_directories(file.parent_path());

  std::optional<ops::Int8Weights> int8;
  std::string change;
  if (arguments.int8) {
    int8.emplace(compute::make_int8_weights(*restored.model));
    if (arguments.int8_check.value_or(1) > 0) change = measure_int8(restored, *int8, plan);
  }
  std::optional<ops::Int8Guard> in_8_bits;
  if (int8) in_8_bits.emplace(*int8);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<tasks::Made> made = draw(restored, plan);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  in_8_bits.reset();
  std::printf("%zu samples of %s in %s: %s\n", made.size(), restored.weights.c_str(),
              human_duration(time.count()).c_str(), plan.summary.c_str());
  if (!plan.asked.empty()) std::printf("labels %s\n", plan.asked.c_str());
  if (int8) std::printf("%s%s", compute::describe(*int8, *restored.model).c_str(), change.c_str());

  std::optional<formats::Artifact> all;
  if (shown || (by_default && out.empty())) all = generator.show(plan, made);
  if (by_default && out.empty()) out = {std::string("samples") + formats::ending_of(*all)};
  for (const std::string& file : out) {
    if (format_of(file) == Format::shown) {
      write_shown(file, *all);
    } else {
      write_dump(file, made, plan, restored, arguments.int8);
    }
    std::printf("wrote %s\n", file.c_str());
  }
  if (!arguments.each.empty()) {
    for (const tasks::Made& one : made) {
      const auto [name, artifact] = generator.show_one(plan.requests[one.request], one);
      write_shown(fs::path(arguments.each) / (name + formats::ending_of(artifact)), artifact);
    }
    std::printf("wrote %zu pictures to %s\n", made.size(), arguments.each.c_str());
  }
}

void add_options(CLI::App& command, SampleArguments& a) {
  command
      .add_option("weights", a.weights,
                  "run directory, checkpoint folder, or a safetensors file beside its config.toml")
      ->required();
  command
      .add_option("--labels", a.labels,
                  "classes, by name or number, or none (no class); sample i is of label i modulo "
                  "their number. A name with a comma stands in double quotes; @none is no class "
                  "and @7 class 7 whatever the classes are called. Default: all, or ten of them "
                  "spread evenly")
      ->type_name("LABEL,...")
      ->allow_extra_args(false);
  command
      .add_option("--label", a.names,
                  "one class, commas and all; after those of --labels; may be "
                  "repeated")
      ->type_name("LABEL")
      ->allow_extra_args(false);
  add_whole_number(command, "--seed", a.seed, "key of the noise. Default: that of the recipe");
  a.settings.add(command, settings_of_generators(), {"labels", "seed"});
  add_numbers(command, "--guidance-interval", a.interval,
              "guidance acts between these noise levels (0 data, 1 noise), for example 0.2,0.8",
              config::between(0, 1))
      ->type_name("FROM,TO");
  add_number(command, "--active", a.active,
             "experts a token on average: a setting of the compute dial, which `gallop calibrate "
             "RUN --active K,...` measures",
             config::positive());
  command.add_flag("--int8", a.int8,
                   "weights in 8 bits, activations brought to 8 bits as they come; CPU only. "
                   "Routers, modulations, the first and the last layer stay in float32");
  add_whole_number(command, "--int8-check", a.int8_check,
                   "held-out samples on which --int8 measures what it changes, beside four samples "
                   "drawn both ways; 0: do not measure. Default: 256",
                   {.min = 0});
  command.add_flag("--raw", a.raw, "the trained weights instead of their moving average (EMA)");
  command
      .add_option("--out", a.out,
                  "FILE.png: a sheet; FILE.safetensors or FILE.npz: `samples` [N, C, H, W] in "
                  "[-1, 1] and `labels`; may be repeated. Default: samples.png")
      ->allow_extra_args(false);
  command.add_option("--each", a.each, "folder for a PNG of each sample");
  add_overrides(command, a.set);
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<SampleArguments>();
  CLI::App* command = app.add_subcommand("sample", "draw images with trained weights");
  add_options(*command, *arguments);
  command->footer(
      "What is not given is that of the recipe's [task.sample] table. Sample i of a seed has the "
      "same "
      "noise whatever --count and --batch are. A name of a class counts before a number:\n"
      "  gallop sample runs/fashion-mnist --labels 0,3,9 --count 16 --steps 50 --guidance 2 "
      "--seed 7 --out grid.png");
  command->callback([arguments] { sample(*arguments); });
}};

}  // namespace
}  // namespace gallop
