#include "gallop/models/int8.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace gallop::models {

namespace {

// Parts of dotted names of modules whose output decides where a token goes.
constexpr std::array<std::string_view, 6> choosing = {"router", "routing", "phi",
                                                      "wg",     "wg_0",    "wg_1"};

bool chooses(std::string_view name) {
  while (!name.empty()) {
    const size_t end = std::min(name.find('.'), name.size());
    if (std::find(choosing.begin(), choosing.end(), name.substr(0, end)) != choosing.end()) {
      return true;
    }
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return false;
}

}  // namespace

std::vector<const nn::Parameter*> int8_candidates(const Model& model) {
  std::vector<const nn::Parameter*> candidates;
  for (const nn::Parameter* parameter : model.parameters()) {
    const std::string name = parameter->name();
    const nn::Attributes& attributes = parameter->attributes();
    const std::vector<int64_t>& shape = parameter->shape();
    const bool matrix = (shape.size() == 2 || shape.size() == 3) && name.ends_with(".weight") &&
                        shape.back() >= least_int8_width;
    if (name.starts_with("blocks.") && matrix && parameter->trainable() && !attributes.auxiliary &&
        !attributes.per_sample && !chooses(name)) {
      candidates.push_back(parameter);
    }
  }
  return candidates;
}

}  // namespace gallop::models
