#include "gallop/tasks/images/known_data.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/json.h"
#include "gallop/base/log.h"
#include "gallop/base/number.h"
#include "gallop/config/describe.h"
#include "gallop/config/parse.h"
#include "gallop/tasks/images/description.h"

namespace gallop::tasks {
namespace {

const char* const sizes[] = {"channels", "image", "classes"};

/// The integer that a struct states under this key.
std::optional<int64_t> stated(const std::vector<config::FieldInfo>& fields,
                              const std::string& key) {
  for (const config::FieldInfo& field : fields) {
    if (field.key == key && field.type == "integer") return whole_number<int64_t>(field.value);
  }
  return std::nullopt;
}

struct Names : config::Fields<Names> {
  std::vector<std::string> names;
  void fields(config::Visitor& v) override { v.field("names", names, "of classes"); }
};

/// The names that the kind of data of the recipe has among its settings.
std::vector<std::string> names_in(ImageGenerationSettings settings, bool data_named) {
  Names found;
  if (!data_named) return {};
  for (const config::FieldInfo& field : config::describe(settings.data.source.settings())) {
    if (field.key == "class_names" && field.type == "list of strings")
      config::load_text(found, "names = " + field.value, "task.data.source.class_names");
  }
  return found.names;
}

std::vector<std::string> names_of(const formats::Metadata& metadata,
                                  const ImageGenerationSettings& settings, bool data_named) {
  const auto listed = metadata.find("class_names");
  if (listed == metadata.end()) return names_in(settings, data_named);
  std::vector<std::string> names;
  const Json list = Json::parse(listed->second, "metadata 'class_names' of the weights");
  for (const Json& name : list.as_array()) names.push_back(name.as_string());
  return names;
}

}  // namespace

std::optional<data::DatasetInfo> known_data(const formats::Metadata& metadata,
                                            const ImageGenerationSettings& settings,
                                            bool data_named) {
  if (const auto data = metadata.find("data"); data != metadata.end()) {
    return info_from_json(Json::parse(data->second, "metadata 'data' of the weights"));
  }
  config::Component model = settings.model;
  const auto fields = config::describe(model.settings());
  std::vector<std::string> missing;
  for (const char* key : sizes) {
    if (!stated(fields, key)) missing.push_back(std::string("task.model.") + key);
  }
  if (!missing.empty()) {
    require(data_named,
            "what this model takes is not known: its weights say nothing of their data, and the "
            "recipe neither names any nor states ",
            join_list(missing),
            ". Give these, for example --set task.model.channels=3 --set task.model.image=32 --set "
            "task.model.classes=10 (0: no labels), or data: --set task.data.source.kind=... --set "
            "task.data.source.path=...");
    return std::nullopt;
  }

  data::DatasetInfo info{.channels = *stated(fields, "channels"),
                         .height = *stated(fields, "image"),
                         .width = *stated(fields, "image"),
                         .classes = *stated(fields, "classes")};
  info.class_names = names_of(metadata, settings, data_named);
  if (static_cast<int64_t>(info.class_names.size()) > info.classes) {
    log_warning(info.class_names.size(), " names of classes are stated, and the model has ",
                info.classes, ": they are left out");
    info.class_names.clear();
  }
  const bool shows = info.channels == 1 || info.channels == 3;
  info.latent = data_named ? settings.data.source.kind() == "latents" : !shows;
  return info;
}

}  // namespace gallop::tasks
