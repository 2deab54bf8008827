#include "gallop/recipe_model.h"

#include "gallop/base/log.h"
#include "gallop/config/registry.h"
#include "gallop/runs/known_data.h"
#include "gallop/tasks/task.h"

namespace gallop {

std::unique_ptr<models::Denoiser> make_model(runs::Recipe& recipe) {
  const auto info = runs::known_data({}, recipe);
  const auto task = config::make<tasks::Task>(
      recipe.task, {.data = recipe.data, .model = recipe.model, .info = info});
  auto model = task->make_model();
  if (!info) log_info("the sizes of the model are those of ", task->data_info().path);
  return model;
}

}  // namespace gallop
