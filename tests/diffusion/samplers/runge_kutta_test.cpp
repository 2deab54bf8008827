#include "gallop/diffusion/samplers/runge_kutta.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/diffusion/flow_case.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_network.h"

namespace gallop::diffusion {
namespace {

using ::testing::HasSubstr;
using testing::make_objective;
using testing::make_sampler;
using testing::message_of;
using testing::States;
using testing::TinyNetwork;

std::shared_ptr<const Objective> flow(const std::string& path, const std::string& prediction) {
  return make_objective<FlowSettings>("flow", [&](FlowSettings& s) {
    s.path = path;
    s.prediction = prediction;
  });
}

/// The start and the state after every step, as the fixtures store them.
at::Tensor points(const Sampler& sampler, const Network& network, const at::Tensor& z) {
  States trajectory;
  trajectory.x.push_back(z);
  sampler.sample(network, z, {}, trajectory.callback());
  return trajectory.states();
}

REFERENCE_TEST(OdeCases, EveryMethodGoesThroughTheStatesOfTheReference, "diffusion/flow_ode") {
  const auto objective = testing::flow_objective_of(fixture);
  const int64_t steps = fixture.config().at("time_points").as_int() - 1;
  const Network network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor z = fixture.in("z");
  const auto whole = [](OdeSettings& s) {
    s.start = 0;
    s.end = 1;
  };

  const struct {
    const char *theirs, *ours;
    int64_t calls;
  } methods[] = {{"euler", "euler", 1}, {"midpoint", "midpoint", 2},
                 {"heun2", "heun", 2},  {"heun3", "heun3", 3},
                 {"rk4", "rk4", 4},     {"rk4_classic", "rk4-classic", 4}};
  for (const auto& [theirs, ours, calls] : methods) {
    if (!fixture.has(std::string("out.") + theirs + ".x")) continue;
    const auto sampler = make_sampler<OdeSettings>(ours, objective, steps, whole);
    EXPECT_EQ(sampler->evaluations(), calls * steps) << ours;
    fixture.expect_close(points(*sampler, network, z), std::string("out.") + theirs + ".x");
  }

  if (fixture.has("out.euler_reverse.x")) {
    const auto reverse = make_sampler<OdeSettings>("euler", objective, steps, [](OdeSettings& s) {
      s.start = 1;
      s.end = 0;
    });
    fixture.expect_close(points(*reverse, network, z), "out.euler_reverse.x");
  }

  // 64 small steps of a method of fourth order stand for the converged solution.
  const auto fine = make_sampler<OdeSettings>("rk4", objective, 64 * steps, whole);
  const Network network64 = TinyNetwork(fixture, at::kDouble).with_labels(fixture.in("y"));
  const at::Tensor states = points(*fine, network64, z.to(at::kDouble));
  fixture.expect_close(states.slice(0, 0, states.size(0), 64), "out.exact.x");
  fixture.expect_all_checked();
}

REFERENCE_TEST(OdeCases, PredictedNoiseAndScoreAreIntegrated, "diffusion/flow_ode_noise_score") {
  fixture.expect_constant("method", "heun2");
  const int64_t steps = fixture.config().at("time_points").as_int() - 1;
  const double eps = fixture.config().at("sample_eps").as_double();
  const Network network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  for (const std::string& name : fixture.names_with_prefix("out.")) {  // <path>_<prediction>.x
    const size_t bar = name.find('_'), end = name.rfind(".x");
    const auto objective = flow(name.substr(0, bar), name.substr(bar + 1, end - bar - 1));
    const auto sampler = make_sampler<OdeSettings>("heun", objective, steps, [&](OdeSettings& s) {
      s.start = eps;
      s.end = 1 - eps;
    });
    fixture.expect_close(points(*sampler, network, fixture.in("z")), "out." + name);
  }
  fixture.expect_all_checked();
}

// dx/dt = x: one step of a method of order p multiplies x by the Taylor polynomial of exp(h) up to
// h^p (these have as many stages as their order).
TEST(RungeKutta, OneStepIsTheTaylorPolynomialOfItsOrder) {
  const auto objective = flow("linear", "velocity");
  const Network identity = [](const at::Tensor& x, const at::Tensor&) { return x; };
  const double taylor[] = {1, 2, 2.5, 2.5 + 1.0 / 6, 2.5 + 1.0 / 6 + 1.0 / 24};
  const std::pair<const char*, int> methods[] = {{"euler", 1}, {"midpoint", 2}, {"heun", 2},
                                                 {"heun3", 3}, {"rk4", 4},      {"rk4-classic", 4}};
  for (const auto& [kind, order] : methods) {
    const auto sampler = make_sampler<OdeSettings>(kind, objective, 1, [](OdeSettings&) {});
    const at::Tensor x = sampler->sample(identity, at::ones({1, 1, 1, 1}, at::kDouble));
    EXPECT_NEAR(x.item<double>(), taylor[order], 1e-14) << kind;
  }
}

TEST(RungeKutta, RefusesAnEmptyIntervalAndDiscreteProcesses) {
  OdeSettings settings;
  settings.start = settings.end = 0.5;
  EXPECT_THAT(message_of([&] { settings.validate(); }), HasSubstr("nothing to integrate"));
  const auto ddpm = make_objective<DdpmSettings>("ddpm", [](DdpmSettings&) {});
  const std::string text =
      message_of([&] { make_sampler<OdeSettings>("heun", ddpm, 5, [](OdeSettings&) {}); });
  EXPECT_THAT(text, HasSubstr("sampler 'heun' does not work on the objective 'ddpm'"));
  EXPECT_THAT(text, HasSubstr("use one of ddim, ddpm"));
}

}  // namespace
}  // namespace gallop::diffusion
