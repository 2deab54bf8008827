#pragma once

#include <algorithm>
#include <cctype>
#include <string>

#include "gallop/diffusion/flow_objective.h"
#include "tests/diffusion/samplers/states.h"
#include "tests/support/fixture.h"

namespace gallop::testing {

/// The name of a path as recipes write it: reference cases say "Linear", "GVP" and "VP".
inline std::string path_of(const Fixture& fixture) {
  std::string path = fixture.config().at("path").as_string();
  std::transform(path.begin(), path.end(), path.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return path;
}

/// The flow that a reference case describes: `path`, and `prediction` where it names one.
inline std::shared_ptr<const diffusion::Objective> flow_objective_of(const Fixture& fixture) {
  return make_objective<diffusion::FlowSettings>("flow", [&](diffusion::FlowSettings& s) {
    s.path = path_of(fixture);
    const Json* prediction = fixture.config().find("prediction");
    s.prediction = prediction != nullptr ? prediction->as_string() : "velocity";
  });
}

/// The name of a form of w(t) as recipes write it; the published names are as they are.
inline std::string diffusion_form(const std::string& theirs) {
  if (theirs == "inccreasing-decreasing") return "increasing-decreasing";
  return theirs == "SBDM" ? "sbdm" : theirs;
}

}  // namespace gallop::testing
