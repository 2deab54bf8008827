#pragma once

#include <functional>
#include <string>

#include "gallop/tasks/task.h"

namespace gallop::test {

/// What goes wrong in the task of kind "unlucky", which is else that of image generation. Empty:
/// nothing.
struct Trouble {
  std::function<void(tasks::TrainOutput&)> after_train;
  std::function<void(tasks::EvalOutput&)> after_evaluate;
  std::function<void()> before_route;
  /// In the place of `progress` of an evaluation, given that.
  std::function<void(const std::function<void()>& progress)> during_evaluate;
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
