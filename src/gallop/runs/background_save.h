#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <optional>
#include <string>

#include "gallop/runs/checkpoint.h"

namespace gallop::runs {

/// What an exception says: one line of those of libtorch, which bring a backtrace.
std::string reason_of(const std::exception& error);

/// How a save ended.
struct SaveResult {
  int64_t step = 0;
  std::string error;  ///< empty: the checkpoint is there and verified
};

/// Writes checkpoints beside the training: training stops only while the state is copied. At most
/// one save runs at a time, so what it takes is one copy of the saved state, kept for the next
/// save.
class BackgroundSaver {
 public:
  explicit BackgroundSaver(CheckpointStore& store) : store_(store) {}
  /// Waits for the save that runs; its result is lost.
  ~BackgroundSaver();

  /// Copies the tensors of `snapshot` and writes them in a thread of its own, after `before` was
  /// called there. There must be no save whose result was not taken: call wait() first. Throws what
  /// the copies throw where there is no memory for them, and gives back those of earlier saves.
  void start(const Snapshot& snapshot, std::string recipe_toml, std::function<void()> before);
  /// The result of a save that has ended; nothing if none was started or it still runs.
  std::optional<SaveResult> poll();
  /// The same after waiting for its end; nothing if none was started.
  std::optional<SaveResult> wait();

 private:
  CheckpointStore& store_;
  Snapshot copy_;  // of the last start; read by the thread
  std::future<void> save_;
};

}  // namespace gallop::runs
