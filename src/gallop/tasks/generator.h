#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/config/schema.h"
#include "gallop/formats/artifact.h"
#include "gallop/models/model.h"
#include "gallop/sparse/choice/inference_threshold.h"

namespace gallop::tasks {

/// One thing that someone wants: a row of the forwards that make it. Rows of different requests may
/// share a forward and are, but for rounding, what each alone gives.
struct Request {
  uint64_t seed = 0;  ///< with `index` the key of all its randomness
  int64_t index = 0;
  Json condition = {};  ///< what it shall be of, as its generator says it: the number of a class
  std::shared_ptr<const config::Struct> settings;        ///< of the generator's kind
  const sparse::ThresholdSetting* thresholds = nullptr;  ///< null: those of the model
};

/// Requests that belong together, and how to lay them out.
struct Plan {
  std::vector<Request> requests;
  int64_t rows = 1;                ///< at once in a forward, without what guidance adds
  int64_t columns = 1;             ///< of a sheet
  std::vector<std::string> notes;  ///< other readings that there were, for the person who asked
  std::string asked;               ///< the conditions as they were read; empty: none were given
  std::string summary;             ///< the settings in a few words: "seed 7, heun, 25 steps"
  /// Keys of the settings that do nothing for this model, and why: who stated one is told.
  std::vector<std::pair<std::string, std::string>> without_effect;
};

/// What was made of a request.
struct Made {
  size_t request = 0;                         ///< the number of it, in the order of adding
  std::map<std::string, at::Tensor> tensors;  ///< without a row dimension, on the CPU
};

/// Requests on their way with one model, one forward of the model at a time. It owns its whole
/// state but the model, which it never changes: several sessions may use one at once.
class Session {
 public:
  virtual ~Session() = default;
  /// Joins those that are on their way, when there is room for them.
  virtual void add(const std::vector<Request>& requests) = 0;
  virtual bool done() const = 0;
  /// One forward for all rows in flight. Throws Error for a row that cannot be made.
  virtual void advance() = 0;
  /// What was finished since the last call.
  virtual std::vector<Made> take() = 0;
  /// Steps that were taken of all, over the requests so far.
  struct Work {
    int64_t done = 0, total = 0;
  };
  virtual Work work() const = 0;
};

/// What makes things with a trained model: one door for `gallop sample`, the sheets of a run, and
/// whoever serves the model. One list of settings says what can be asked for: the recipe's
/// [task.sample], the options of `gallop sample`, the keys of a JSON request.
class Generator {
 public:
  virtual ~Generator() = default;
  /// The settings with the values of the recipe.
  virtual std::unique_ptr<config::Struct> settings() const = 0;
  /// What settings ask for. Throws Error for what the model does not know; weights need not be
  /// there yet.
  virtual Plan plan(const models::Model& model, const config::Struct& settings) const = 0;
  /// What a run shows of itself with the recipe's settings.
  virtual Plan sheet(const models::Model& model) const = 0;
  /// `rows` at once.
  virtual std::unique_ptr<Session> begin(const models::Model& model,
                                         const std::vector<Request>& requests,
                                         int64_t rows) const = 0;
  /// Why what is made cannot be looked at; empty: it can.
  virtual std::string not_shown() const { return {}; }
  /// What was made, put together for people to look at.
  virtual formats::Artifact show(const Plan& plan, const std::vector<Made>& made) const = 0;
  /// The same of one of them, and the name of its file.
  virtual std::pair<std::string, formats::Artifact> show_one(const Request& request,
                                                             const Made& made) const = 0;
  /// All of it as tensors by name, a row for each request.
  virtual std::vector<std::pair<std::string, at::Tensor>> tensors(
      const Plan& plan, const std::vector<Made>& made) const = 0;
  /// How it was made, by name, for who keeps the tensors.
  virtual std::vector<std::pair<std::string, std::string>> how(const Plan& plan) const = 0;
};

/// Takes a plan through a session to its end; what was made in the order of the requests.
/// `progress` is called after every forward and may throw to stop.
std::vector<Made> generate(const Generator& generator, const models::Model& model, const Plan& plan,
                           const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace gallop::tasks
