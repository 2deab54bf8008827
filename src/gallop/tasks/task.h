#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/collectives/world.h"
#include "gallop/config/schema.h"
#include "gallop/data/identity.h"
#include "gallop/formats/safetensors.h"
#include "gallop/models/model.h"
#include "gallop/ops/precision.h"
#include "gallop/tasks/meter.h"
#include "gallop/tasks/outcome.h"
#include "gallop/tasks/stream.h"

namespace gallop::tasks {

class Generator;

/// A part of every step with parameters and an optimizer of its own: the players of an adversarial
/// game take turns, most tasks have one pass.
struct Pass {
  std::string name = "main";
  /// Which of the trainable parameters it moves; empty: all of them. No parameter is in two passes.
  std::function<bool(const nn::Parameter& parameter)> moves = {};
  std::optional<config::Component> optimizer = {};  ///< absent: the recipe's
  int64_t every = 1;  ///< it is part of the steps whose number is a multiple, from step 0 on
};

/// What a run of a task holds in memory beside its model.
struct TaskMemory {
  uint64_t data = 0;      ///< bytes of the samples that stay and of those on their way
  int64_t evaluated = 0;  ///< samples at once in an evaluation
  int64_t generated = 0;  ///< rows at once while a run shows what it generates
};

/// What is learned: the data, the network that they need, and how a batch becomes losses. It is
/// const and has no state of a run: who trains, evaluates or generates hands it what it needs. A
/// component of category "task", whose settings are the recipe's [task].
class Task {
 public:
  static constexpr const char* category = "task";
  struct Args {
    uint64_t seed = 0;       ///< key of all randomness
    int64_t batch = 1;       ///< samples of a micro-batch of training
    int64_t accumulate = 1;  ///< micro-batches of a step
    /// Of all that runs for the task, samples and gradients included.
    ops::Precision precision = ops::Precision::float32;
    /// What a weights file says of itself, where there is one: the data need not be there then, and
    /// are opened on first use only, with a warning of what differs. `description` of a checkpoint
    /// is its entry "data", that of the held-out part "held_out".
    std::optional<formats::Metadata> weights = {};
    /// Whether someone said where the data are; if not, reading them is an Error.
    bool data_named = true;
    collectives::World world = {};
  };
  explicit Task(Args args) : args_(std::move(args)) {}
  virtual ~Task() = default;
  const Args& args() const { return args_; }

  /// What a sample is called where rates are told: "image", "token".
  virtual std::string unit() const { return "sample"; }

  /// What the data hold, as an object that weights files keep. Opens them where that is not known.
  virtual Json description(Split split) const = 0;
  /// The data for people: "60000 samples of FOLDER".
  virtual std::string data_text() const = 0;
  /// What differs of the data since a description was written. By default every member that has
  /// another value now means other data.
  virtual std::vector<data::Change> changes(Split split, const Json& before) const;
  /// Whether these are known to be the same samples in the same order, wherever they lie.
  virtual bool same_data(Split split, const Json& before) const;
  /// The keys of its changes, which `--allow` may name.
  virtual std::vector<std::string> change_keys() const;
  virtual TaskMemory memory() const = 0;

  /// The network for the data; nothing is allocated. Throws Error where a recipe's sizes do not fit
  /// them.
  virtual std::unique_ptr<models::Model> make_model() const = 0;
  /// The parts of a step, in their order.
  virtual std::vector<Pass> passes() const { return {Pass{}}; }
  virtual std::unique_ptr<Stream> stream(Split split) const = 0;
  /// Samples at once in an evaluation.
  virtual int64_t evaluation_batch() const { return args_.batch; }
  /// Runs a batch through a model of make_model(). The random numbers are keyed by the seed, the
  /// purpose and the numbers of the samples: the same whenever and wherever it runs.
  virtual Outcome run(const models::Model& model, const Batch& batch, const Pass& pass,
                      const Forward& forward) const = 0;
  /// What judges `model` on held-out samples, the main loss first.
  virtual std::vector<std::unique_ptr<Meter>> meters(const models::Model& model) const;
  /// What makes things with a trained model; null pointer: this task generates nothing.
  virtual const Generator* generator() const { return nullptr; }

 private:
  Args args_;
};

/// The generator of a task. Throws Error that names `kind`, the task's, where it has none.
const Generator& require_generator(const Task& task, const std::string& kind);

}  // namespace gallop::tasks
