// gallop inspect: what a file of tensors, a checkpoint or a run holds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/base/json.h"
#include "gallop/base/printable.h"
#include "gallop/command.h"
#include "gallop/config/parse.h"
#include "gallop/config/value.h"
#include "gallop/formats/file_kind.h"
#include "gallop/formats/npz.h"
#include "gallop/formats/shards.h"
#include "gallop/formats/torch_file.h"
#include "gallop/inspection/run_summary.h"
#include "gallop/inspection/tensor_summary.h"
#include "gallop/models/counts.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/restore.h"
#include "gallop/runs/run_directory.h"
#include "gallop/runs/young_average.h"

namespace gallop {
namespace {

constexpr size_t columns = 100;
constexpr size_t losses_shown = 5;

// "name        text", the text wrapped beside its name.
void fact(const std::string& name, const std::string& text) {
  constexpr int width = 12;
  std::string shown = name;
  for (const std::string& line : config::wrap(text, columns - width)) {
    std::printf("%-*s%s\n", width, shown.c_str(), line.c_str());
    shown.clear();
  }
}

std::string shortened(const std::string& text) {
  constexpr size_t most = 300;
  if (text.size() <= most) return text;
  return text.substr(0, most) + " ... (" + std::to_string(text.size()) + " characters)";
}

std::string shown(const std::string& key) { return shortened(printable(key)); }

std::string number(double value) {
  return std::isfinite(value) ? format("%.5g", value) : "not finite";
}

std::string values_text(const std::vector<std::pair<std::string, double>>& values) {
  std::string text;
  for (const auto& [name, value] : values) {
    text += (text.empty() ? "" : ", ") + name + " " + number(value);
  }
  return text;
}

void print_weights_facts(const formats::Metadata& metadata) {
  const std::string role = inspection::role_text(metadata),
                    threshold = inspection::threshold_text(metadata);
  if (!role.empty()) fact("weights", role);
  if (!threshold.empty()) fact("thresholds", threshold);
}

void print_tensors(const std::vector<formats::TensorView>& views) {
  std::vector<inspection::TensorSummary> tensors;
  for (const auto& tensor : views) tensors.push_back(inspection::summarize(tensor));
  std::printf("\n%s", inspection::table_of(tensors).c_str());
}

void print_file(const fs::path& path, const std::string& files,
                const std::vector<formats::TensorView>& views, const formats::Metadata& metadata) {
  uint64_t bytes = 0;
  for (const auto& tensor : views) bytes += tensor.data.size();
  fact("file", path.string() + " (" + human_bytes(bytes) + " of tensors" + files + ")");
  print_weights_facts(metadata);
  for (const auto& [key, value] : metadata) fact("metadata", key + " = " + shortened(value));
  print_tensors(views);
}

void inspect_npz(const fs::path& path) {
  const formats::NpzReader reader(path, formats::NpzReader::Unread::is_listed);
  print_file(path, "", reader.tensors(), {});
  for (const auto& [name, reason] : reader.unread()) fact("not read", shown(name) + ": " + reason);
}

// What stands at the top of a checkpoint of PyTorch, then a table for each set of weights.
void inspect_torch(const fs::path& path) {
  formats::TorchFile file(path);
  const std::vector<formats::TorchFile::Part> parts = file.parts();
  fact("file", path.string() + " (a PyTorch checkpoint; nothing in it was executed)");
  constexpr size_t most = 100;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& part = parts[i];
    if (i >= most) break;
    fact("holds", (part.key.empty() ? "" : shown(part.key) + ": ") + part.text);
    if (!part.unknown.empty()) fact("", "not read, of unknown kinds: " + join_list(part.unknown));
  }
  if (parts.size() > most) fact("", "and " + std::to_string(parts.size() - most) + " more");
  for (const auto& part : parts) {
    if (!part.weights) continue;
    if (!part.key.empty()) std::printf("\n%s:", shown(part.key).c_str());
    try {
      print_tensors(file.tensors(part.key));
    } catch (const Error& error) {
      std::printf("\n%s cannot be read: %s\n", part.key.empty() ? "it" : shown(part.key).c_str(),
                  error.what());
    }
  }
  std::printf("\n");
  fact("next", "gallop convert makes safetensors of it");
}

void inspect_file(const fs::path& path) {
  using formats::FileKind;
  const FileKind kind = formats::kind_of(path);
  if (kind == FileKind::torch) return inspect_torch(path);
  if (kind == FileKind::npz || (kind == FileKind::unknown && path.extension() == ".npz"))
    return inspect_npz(path);
  const formats::WeightsReader reader(path);
  const std::string files =
      reader.files() > 1 ? " in " + std::to_string(reader.files()) + " files" : "";
  print_file(path, files, reader.tensors(), reader.metadata());
}

void print_model(runs::Recipe& recipe, const formats::Metadata& metadata) {
  if (!metadata.contains("data")) return;
  const auto model = runs::make_task(recipe, metadata)->make_model();
  const models::Counts counts = models::count(*model);
  fact("network", model->summary());
  fact("parameters", human_count(static_cast<double>(counts.total)) + ", " +
                         human_count(counts.active) + " of them active for a token");
}

// What is left in the average of the values that the run began with.
void print_average_facts(const formats::Metadata& metadata, const fs::path& owner) {
  runs::Recipe recipe;
  try {
    config::load_text(recipe, runs::find_recipe(owner), (owner / runs::recipe_file).string());
  } catch (const Error&) {  // print_recipe says so
  }
  const auto share = runs::first_values_share(metadata, recipe.ema);
  const std::string young = runs::young_average(share.value_or(0));
  if (!young.empty()) fact("", young);
}

// A recipe of another version must not hide the rest.
void print_recipe(const fs::path& owner, const formats::Metadata& metadata) {
  const std::string text = runs::find_recipe(owner);
  if (text.empty()) return fact("recipe", "none beside it");
  runs::Recipe recipe;
  try {
    config::load_text(recipe, text, (owner / runs::recipe_file).string());
    print_model(recipe, metadata);
  } catch (const Error& error) {
    return fact("recipe", std::string("cannot be read: ") + error.what());
  }
  fact("recipe", recipe.name + ", seed " + std::to_string(recipe.seed));
  for (const auto& [section, settings] : inspection::main_settings(recipe)) {
    const std::string prefix = "task.";
    fact("  " + (section.starts_with(prefix) ? section.substr(prefix.size()) : section), settings);
  }
}

void print_state(const fs::path& checkpoint) {
  const fs::path path = checkpoint / "state.json";
  const Json state = Json::parse(read_file(path), path.string());
  std::string text;
  for (const auto& [key, value] : state.at("state").as_object()) {
    if (value.is_object() || value.is_array()) continue;
    text += (text.empty() ? "" : ", ") + key + " " +
            (value.is_number() && !value.is_int() ? number(value.as_double()) : value.dump());
  }
  fact("step", std::to_string(state.at("step").as_int()));
  if (!text.empty()) fact("state", text);
}

void print_checkpoint(const fs::path& checkpoint, const fs::path& recipe_owner) {
  print_state(checkpoint);
  const formats::Metadata metadata =
      formats::SafetensorsReader(checkpoint / "ema.safetensors").metadata();
  print_weights_facts(metadata);
  print_average_facts(metadata, recipe_owner);
  fact("", "beside them the raw weights, in model.safetensors");
  print_recipe(recipe_owner, metadata);
}

void print_log(const fs::path& run) {
  const auto lines = inspection::read_log(run / "log.jsonl");
  if (lines.empty()) return fact("log", "empty");
  const auto last = [&](const std::string& kind) {
    return std::find_if(lines.rbegin(), lines.rend(),
                        [&](const auto& line) { return line.kind == kind; });
  };
  for (const char* kind : {"train", "eval"}) {
    const auto line = last(kind);
    if (line != lines.rend()) {
      fact("last " + std::string(kind),
           "step " + std::to_string(line->step) + ": " + values_text(line->values));
    }
  }
  std::vector<std::string> losses;
  for (auto line = lines.rbegin(); line != lines.rend() && losses.size() < losses_shown; ++line) {
    if (line->kind != "train") continue;
    for (const auto& [name, value] : line->values) {
      if (name == "loss")
        losses.push_back(number(value) + " (step " + std::to_string(line->step) + ")");
    }
  }
  std::reverse(losses.begin(), losses.end());
  std::string text;
  for (const std::string& loss : losses) text += (text.empty() ? "" : ", ") + loss;
  if (!text.empty()) fact("losses", text);
}

void inspect_run(const fs::path& run) {
  const auto checkpoints = inspection::check_checkpoints(run);
  fact("run", run.string());
  if (const auto* best = inspection::best_of(checkpoints); best != nullptr) {
    print_checkpoint(best->saved.path, run);
  } else {
    fact("step", checkpoints.empty() ? "no checkpoint yet" : "no checkpoint is whole");
    print_recipe(run, {});
  }
  print_log(run);
  for (const auto& c : checkpoints) {
    fact(&c == &checkpoints.front() ? "checkpoints" : "",
         c.saved.path.filename().string() + ", " + human_bytes(c.bytes) + ", " +
             (!c.damage.empty()      ? "DAMAGED: " + c.damage
              : c.not_finite.empty() ? "verified"
                                     : "verified, NOT FINITE: " + c.not_finite));
  }
}

void inspect(const fs::path& named) {
  require(is_there(named), "'", named.string(), "' does not exist");
  // The recipe of a run or a checkpoint stands for its folder.
  const fs::path path = named.filename() != runs::recipe_file ? formats::index_in_folder(named)
                        : named.has_parent_path()             ? named.parent_path()
                                                              : fs::path(".");
  if (!is_folder(path)) return inspect_file(path);
  if (is_there(path / runs::manifest_file)) {
    runs::verify_checkpoint(path);
    fact("checkpoint", path.string() + ", verified");
    const std::string not_finite = runs::non_finite_values(path);
    if (!not_finite.empty()) fact("", "NOT FINITE: " + not_finite);
    return print_checkpoint(path, path);
  }
  require(is_there(path / runs::recipe_file) || is_there(path / "checkpoints"), "'", path.string(),
          "' is neither a run (a folder with config.toml) nor a checkpoint (a folder with "
          "manifest.json) nor weights in shards (a folder with their index)");
  inspect_run(path);
}

const Command registered{[](CLI::App& app) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "inspect",
      "say what a file of tensors holds (metadata, tensors with shape, type, min, max, mean, "
      "non-finite elements), or where a run or a checkpoint stands");
  command->add_option("file_or_run", *path, "safetensors, PyTorch or npz file, run or checkpoint")
      ->required();
  command->callback([path] { inspect(*path); });
}};

}  // namespace
}  // namespace gallop
