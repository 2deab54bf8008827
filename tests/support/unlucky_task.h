#pragma once

#include <functional>
#include <string>

#include "gallop/tasks/task.h"

namespace gallop::test {

/// What goes wrong in the task of kind "unlucky", which is else that of image generation. Empty:
/// nothing.
struct Trouble {
  std::function<void(tasks::Outcome&)> after_train;
  std::function<void()> before_calibration;
  /// In an evaluation before its meters see a batch.
  std::function<void()> during_evaluation;
  /// What a further meter shows.
  std::function<tasks::Reading()> read;
};
Trouble& trouble();

/// Ends it.
struct TroubleGuard {
  TroubleGuard() = default;
  TroubleGuard(const TroubleGuard&) = delete;
  TroubleGuard& operator=(const TroubleGuard&) = delete;
  ~TroubleGuard() { trouble() = {}; }
};

}  // namespace gallop::test
