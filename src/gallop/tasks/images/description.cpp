#include "gallop/tasks/images/description.h"

namespace gallop::tasks {

Json to_json(const data::DatasetInfo& info) {
  Json names = Json::array();
  for (const std::string& name : info.class_names) names.push_back(name);
  Json json = Json::object();
  json["kind"] = info.kind;
  json["count"] = info.count;
  json["channels"] = info.channels;
  json["height"] = info.height;
  json["width"] = info.width;
  json["classes"] = info.classes;
  json["class_names"] = names;
  json["latent"] = info.latent;
  json["detail"] = info.detail;
  json["content"] = info.content;
  return json;
}

data::DatasetInfo info_from_json(const Json& json) {
  data::DatasetInfo info;
  info.kind = json.at("kind").as_string();
  info.count = json.at("count").as_int();
  info.channels = json.at("channels").as_int();
  info.height = json.at("height").as_int();
  info.width = json.at("width").as_int();
  info.classes = json.at("classes").as_int();
  for (const Json& name : json.at("class_names").as_array()) {
    info.class_names.push_back(name.as_string());
  }
  info.latent = json.at("latent").as_bool();
  info.detail = json.at("detail").as_string();
  if (const Json* content = json.find("content")) info.content = content->as_string();
  return info;
}

}  // namespace gallop::tasks
