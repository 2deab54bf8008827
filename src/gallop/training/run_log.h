#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/formats/image.h"

namespace gallop::training {

/// The written record of a run: log.jsonl (one object a line, flushed) and TensorBoard event files
/// with the same numbers. After a resume lines of steps beyond the resumed one are dropped from
/// log.jsonl, so that the file reads as one uninterrupted run.
class RunLog {
 public:
  struct Options {
    bool tensorboard = true;
    int64_t resumed_step = 0;  ///< 0: a fresh run
  };
  RunLog(const std::filesystem::path& run_directory, const Options& options);
  ~RunLog();
  /// One line {"step": ..., "time": unix seconds, "kind": kind, then the values in order}; to
  /// TensorBoard as scalars named "<kind>/<name>". Non-finite numbers are null in JSON.
  void write(int64_t step, const std::string& kind,
             const std::vector<std::pair<std::string, double>>& values);
  /// An image in TensorBoard.
  void image(int64_t step, const std::string& tag, const formats::Image& image);
  /// Text in TensorBoard (the recipe).
  void text(int64_t step, const std::string& tag, const std::string& text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gallop::training
