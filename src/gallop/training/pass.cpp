#include "gallop/training/pass.h"

#include <set>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"

namespace gallop::training {

std::vector<LearningPass> make_passes(const tasks::Task& task, const runs::Recipe& recipe,
                                      nn::Module& model, nn::Module& average) {
  const std::vector<nn::Parameter*> all = trainable_parameters(model),
                                    averages = trainable_parameters(average);
  std::map<std::string, std::string> moved_by;
  std::vector<LearningPass> passes;
  for (const tasks::Pass& pass : task.passes()) {
    require(pass.every >= 1, "the pass '", pass.name, "' is to run every ", pass.every,
            " steps; every step is 1");
    LearningPass learning{.pass = pass};
    for (size_t i = 0; i < all.size(); ++i) {
      if (pass.moves && !pass.moves(*all[i])) continue;
      const auto [other, is_new] = moved_by.emplace(all[i]->name(), pass.name);
      require(is_new, "the passes '", other->second, "' and '", pass.name, "' both move ",
              all[i]->name());
      learning.parameters.push_back(all[i]);
      learning.averages.push_back(averages[i]);
    }
    require(!learning.parameters.empty(), "the pass '", pass.name, "' moves no parameter at all");
    learning.optimizer =
        config::make<Optimizer>(pass.optimizer.value_or(recipe.optimizer), {learning.parameters});
    passes.push_back(std::move(learning));
  }
  require(!passes.empty(), "the task has no pass: its steps would learn nothing");
  for (const nn::Parameter* parameter : all) {
    require(moved_by.contains(parameter->name()), "no pass of the task moves ", parameter->name(),
            ": a parameter that is not to be trained is frozen");
  }
  return passes;
}

runs::NamedTensors state_of(const std::vector<LearningPass>& passes) {
  runs::NamedTensors all;
  for (const LearningPass& pass : passes) {
    for (auto& entry : pass.optimizer->state()) all.push_back(std::move(entry));
  }
  return all;
}

void load_state(const std::vector<LearningPass>& passes, std::map<std::string, at::Tensor> state) {
  for (const LearningPass& pass : passes) {
    std::map<std::string, at::Tensor> own;
    for (const auto& [name, tensor] : pass.optimizer->state()) {
      if (auto found = state.extract(name); !found.empty()) own.insert(std::move(found));
    }
    // What no optimizer knows is told by the last one, with what it misses itself.
    if (&pass == &passes.back()) own.merge(state);
    pass.optimizer->load_state(std::move(own));
  }
}

}  // namespace gallop::training
