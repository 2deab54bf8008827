#include "gallop/config/schema.h"

#include <utility>

#include "gallop/config/registry.h"

namespace gallop::config {

Component::Component(std::string category, std::string kind)
    : category_(std::move(category)), kind_(std::move(kind)) {}

Component::Component(const Component& other)
    : category_(other.category_),
      kind_(other.kind_),
      settings_(other.settings_ ? other.settings_->clone() : nullptr) {}

Component& Component::operator=(const Component& other) {
  if (this != &other) *this = Component(other);
  return *this;
}

void Component::choose(const std::string& kind) {
  auto settings = find_component(category_, kind).make_settings();
  kind_ = kind;
  settings_ = std::move(settings);
}

const Struct& Component::settings() const {
  if (!settings_) settings_ = find_component(category_, kind_).make_settings();
  return *settings_;
}

Struct& Component::settings() { return const_cast<Struct&>(std::as_const(*this).settings()); }

}  // namespace gallop::config
