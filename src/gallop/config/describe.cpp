#include "gallop/config/describe.h"

#include <utility>

#include "gallop/config/value.h"

namespace gallop::config {
namespace {

class Describer final : public Visitor {
 public:
  explicit Describer(Effect effect) { effect_ = effect; }
  std::vector<FieldInfo> found;

  void field(const char* key, bool& value, const char* doc) override {
    add(key, doc, "boolean", "", to_text(value));
  }
  void field(const char* key, int64_t& value, const char* doc, Range range) override {
    add(key, doc, "integer", to_text(range), to_text(value)).range = range;
  }
  void field(const char* key, double& value, const char* doc, Range range) override {
    add(key, doc, "float", to_text(range), to_text(value)).range = range;
  }
  void field(const char* key, std::string& value, const char* doc, Choices choices) override {
    std::string limits;
    for (const auto& choice : choices) limits += (limits.empty() ? "" : " | ") + to_text(choice);
    add(key, doc, "string", limits, to_text(value));
  }
  void field(const char* key, std::optional<int64_t>& value, const char* doc,
             Range range) override {
    FieldInfo& info = add(key, doc, "integer", to_text(range), value ? to_text(*value) : "");
    info.optional = true;
    info.range = range;
  }
  void field(const char* key, std::optional<double>& value, const char* doc, Range range) override {
    FieldInfo& info = add(key, doc, "float", to_text(range), value ? to_text(*value) : "");
    info.optional = true;
    info.range = range;
  }
  void field(const char* key, std::vector<int64_t>& value, const char* doc, Range range) override {
    add(key, doc, "list of integers", each(range), to_text(value)).range = range;
  }
  void field(const char* key, std::vector<double>& value, const char* doc, Range range) override {
    add(key, doc, "list of floats", each(range), to_text(value)).range = range;
  }
  void field(const char* key, std::vector<std::string>& value, const char* doc) override {
    add(key, doc, "list of strings", "", to_text(value));
  }
  void table(const char* key, Struct& value, const char* doc) override {
    add(key, doc, "table", "", "").table = &value;
  }
  void component(const char* key, Component& value, const char* doc) override {
    add(key, doc, value.category(), "", to_text(value.kind())).component = &value;
  }

 private:
  static std::string each(const Range& range) {
    const auto text = to_text(range);
    return text.empty() ? text : "each " + text;
  }
  FieldInfo& add(const char* key, const char* doc, std::string type, std::string limits,
                 std::string value) {
    FieldInfo info;
    info.key = key;
    info.doc = doc;
    info.type = std::move(type);
    info.limits = std::move(limits);
    info.value = std::move(value);
    info.effect = effect_;
    return found.emplace_back(std::move(info));
  }
};

}  // namespace

std::vector<FieldInfo> describe(Struct& config, Effect effect) {
  Describer describer(effect);
  config.fields(describer);
  return std::move(describer.found);
}

std::vector<std::string> keys_of(Struct& config) {
  std::vector<std::string> keys;
  for (auto& field : describe(config)) keys.push_back(std::move(field.key));
  return keys;
}

}  // namespace gallop::config
