#pragma once

#include <string>

#include "gallop/diffusion/ddpm_objective.h"
#include "tests/diffusion/samplers/states.h"
#include "tests/support/fixture.h"

namespace gallop::testing {

/// The discrete process that a reference case describes, over all its steps: `schedule` and `T`,
/// and `predict_xstart` and `learn_sigma` where it names them (the published defaults are the
/// noise and a learned variance; a fixed one is the large).
inline std::shared_ptr<const diffusion::Objective> ddpm_objective_of(const Fixture& fixture) {
  const Json& config = fixture.config();
  const auto is = [&](const char* key, bool otherwise) {
    const Json* said = config.find(key);
    return said != nullptr ? said->as_bool() : otherwise;
  };
  return make_objective<diffusion::DdpmSettings>("ddpm", [&](diffusion::DdpmSettings& s) {
    s.schedule = config.at("schedule").as_string();
    s.steps = config.at("T").as_int();
    s.prediction = is("predict_xstart", false) ? "x0" : "eps";
    s.variance = is("learn_sigma", true) ? "learned" : "fixed-large";
  });
}

/// How a sampler visits the steps of a case, `respacing`: "10" or "ddim10".
struct Respacing {
  explicit Respacing(const Fixture& fixture) : text(fixture.config().at("respacing").as_string()) {
    const bool ddim = text.starts_with("ddim");
    spacing = ddim ? "ddim" : "even";
    steps = std::stoll(ddim ? text.substr(4) : text);
  }
  std::string text, spacing;
  int64_t steps;
};

}  // namespace gallop::testing
