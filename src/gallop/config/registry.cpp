#include "gallop/config/registry.h"

#include <stdexcept>

#include "gallop/config/value.h"

namespace gallop::config {
namespace {

using Kinds = std::map<std::string, ComponentInfo>;

/// A function-local static, because the static initialisers of other files use it in any order.
std::map<std::string, Kinds>& categories() {
  static std::map<std::string, Kinds> instance;
  return instance;
}

}  // namespace

void add_component(ComponentInfo info) {
  auto& kinds = categories()[info.category];
  const auto [found, added] = kinds.try_emplace(info.kind, info);
  if (!added) {
    throw std::logic_error("two components register as " + info.category + " '" + info.kind +
                           "': \"" + found->second.summary + "\" and \"" + info.summary + "\"");
  }
}

std::vector<const ComponentInfo*> components_of(const std::string& category) {
  std::vector<const ComponentInfo*> result;
  const auto found = categories().find(category);
  if (found == categories().end()) return result;
  for (const auto& [kind, info] : found->second) result.push_back(&info);
  return result;
}

std::vector<std::string> component_categories() {
  std::vector<std::string> result;
  for (const auto& [name, kinds] : categories()) result.push_back(name);
  return result;
}

const ComponentInfo& find_component(const std::string& category, const std::string& kind) {
  const auto kinds = categories().find(category);
  if (kinds == categories().end()) {
    const auto known = component_categories();
    fail("unknown component category '", category, "'", did_you_mean(category, known),
         " (known: ", quoted_list(known), ")");
  }
  const auto found = kinds->second.find(kind);
  if (found != kinds->second.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [name, info] : kinds->second) known.push_back(name);
  fail("unknown ", category, " '", kind, "'", did_you_mean(kind, known),
       " (known: ", quoted_list(known), ")");
}

}  // namespace gallop::config
