#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::runs {

/// [train]: how long, how much at once.
struct TrainConfig : config::Fields<TrainConfig> {
  int64_t steps = 1000;
  int64_t batch = 64;
  int64_t accumulate = 1;
  std::string precision = "float32";
  double clip = 1.0;
  int64_t max_skipped = 10;
  double spike = 0;
  bool dump_nonfinite = false;
  bool check = false;
  void fields(config::Visitor& v) override;
};

/// [ema]: the moving average of the weights, which evaluation and samples use.
struct EmaConfig : config::Fields<EmaConfig> {
  double decay = 0.9999;
  bool warmup = true;
  void fields(config::Visitor& v) override;
  /// min(decay, (1+s)/(10+s)) with warm-up, s the applied steps; else the decay.
  double decay_at(int64_t applied_steps) const;
};

/// [init]: starting from other weights.
struct InitConfig : config::Fields<InitConfig> {
  std::string weights;
  std::string names = "auto";
  std::vector<std::string> allow;
  std::string labels = "index";
  std::string null_row = "auto";
  void fields(config::Visitor& v) override;
};

/// [checkpoint]
struct CheckpointConfig : config::Fields<CheckpointConfig> {
  int64_t every = 500;
  int64_t keep_last = 2;
  int64_t keep_every = 0;
  bool background_save = true;
  std::string on_error = "go-on";
  void fields(config::Visitor& v) override;
};

/// [log]
struct LogConfig : config::Fields<LogConfig> {
  int64_t every = 20;
  bool tensorboard = true;
  void fields(config::Visitor& v) override;
};

/// [eval]: when a run is judged on held-out data; on what is the task's affair.
struct EvalConfig : config::Fields<EvalConfig> {
  int64_t every = 500;
  void fields(config::Visitor& v) override;
};

/// [sample]: when a run shows what it generates; how is the task's affair.
struct SampleConfig : config::Fields<SampleConfig> {
  int64_t every = 500;
  void fields(config::Visitor& v) override;
};

/// A whole run: how it goes on, while all that is learned stands in [task]. The name defaults to
/// the file's.
struct Recipe : config::Fields<Recipe> {
  int64_t format = 2;
  std::string name;
  int64_t seed = 0;
  std::string out;
  int64_t threads = 0;
  std::string device = "auto";
  double memory_limit = 0.9;
  config::Component task{"task", "image-generation"};
  TrainConfig train;
  config::Component optimizer{"optimizer", "adamw"};
  config::Component schedule{"schedule", "constant"};
  EmaConfig ema;
  InitConfig init;
  EvalConfig eval;
  SampleConfig sample;
  CheckpointConfig checkpoint;
  LogConfig log;
  /// Whether the recipe says where its data come from (task.data.source); else that is the default.
  /// Not a key: whoever reads a recipe sets it.
  bool names_data = true;
  void fields(config::Visitor& v) override;
  /// The names that keys had before `format` 2.
  const config::Layout* layout() const override;
};

/// Reads a recipe and its overrides; an empty name becomes the file's stem, an empty `out`
/// runs/<name>.
Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides);
/// The same of a recipe in memory; name and `out` stay as it says. `what` stands for its file.
Recipe recipe_in(const std::string& text, const std::string& what,
                 const std::vector<std::string>& overrides = {});

}  // namespace gallop::runs
