#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/formats/artifact.h"

namespace gallop::runs {

/// The written record of a run: log.jsonl (one object a line, handed to the system at once) and
/// TensorBoard event files with the same numbers. After a resume lines of steps beyond the resumed
/// one, and a last line that was cut short, are dropped from log.jsonl, so that the file reads as
/// one uninterrupted run; TensorBoard drops them itself.
class RunLog {
 public:
  struct Options {
    bool tensorboard = true;
    int64_t resumed_step = 0;  ///< 0: a fresh run, which drops all lines of an earlier one
  };
  RunLog(const std::filesystem::path& run_directory, const Options& options);
  ~RunLog();
  /// One line {"step": ..., "time": unix seconds, "kind": kind, then the values in order}; to
  /// TensorBoard as scalars named "<kind>/<name>". Non-finite numbers are null in JSON.
  /// Throws Error where writing fails; the call after that mends what was cut short.
  void write(int64_t step, const std::string& kind,
             const std::vector<std::pair<std::string, double>>& values);
  /// Makes log.jsonl durable: before a checkpoint, so that a power cut takes no line that a resumed
  /// run does not write again. Any thread, also while another one writes.
  void sync() const;
  /// What was made, in TensorBoard: pictures, and as text what can be told in it.
  void artifact(int64_t step, const formats::Artifact& artifact);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gallop::runs
