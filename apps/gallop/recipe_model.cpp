#include "gallop/recipe_model.h"

#include <map>
#include <optional>
#include <string>

#include "gallop/config/describe.h"
#include "gallop/config/registry.h"
#include "gallop/tasks/task.h"

namespace gallop {
namespace {

std::optional<data::DatasetInfo> stated_sizes(config::Component& model) {
  std::map<std::string, int64_t> stated;
  for (const config::FieldInfo& field : config::describe(model.settings())) {
    if (field.type == "integer" && !field.value.empty()) {
      stated[field.key] = std::stoll(field.value);
    }
  }
  for (const char* key : {"channels", "image", "classes"}) {
    if (!stated.contains(key)) return std::nullopt;
  }
  return data::DatasetInfo{.channels = stated["channels"],
                           .height = stated["image"],
                           .width = stated["image"],
                           .classes = stated["classes"]};
}

}  // namespace

std::unique_ptr<models::Model> make_model(training::Recipe& recipe) {
  const auto task = config::make<tasks::Task>(
      recipe.task,
      {.data = recipe.data, .model = recipe.model, .info = stated_sizes(recipe.model)});
  return task->make_model();
}

}  // namespace gallop
