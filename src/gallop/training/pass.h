#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gallop/runs/checkpoint.h"
#include "gallop/runs/recipe.h"
#include "gallop/tasks/task.h"
#include "gallop/training/optimizer.h"

namespace gallop::training {

/// A pass of a task's step with what it learns with: its parameters, those of the average that
/// follow them, and an optimizer.
struct LearningPass {
  tasks::Pass pass;
  std::vector<nn::Parameter*> parameters, averages;
  std::unique_ptr<Optimizer> optimizer;
};

/// The passes of a task over a model and its average, which outlive them. Throws Error for a pass
/// that moves nothing, and for a parameter that two passes move or none does.
std::vector<LearningPass> make_passes(const tasks::Task& task, const runs::Recipe& recipe,
                                      nn::Module& model, nn::Module& average);

/// What the optimizers of all passes remember; a parameter is in one pass, so that names differ.
runs::NamedTensors state_of(const std::vector<LearningPass>& passes);
/// Brings it back; throws Error for what is missing, unknown or misshapen.
void load_state(const std::vector<LearningPass>& passes, std::map<std::string, at::Tensor> state);

}  // namespace gallop::training
