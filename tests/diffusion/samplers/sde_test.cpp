#include "gallop/diffusion/samplers/sde.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/diffusion/samplers/runge_kutta.h"
#include "tests/diffusion/flow_case.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_network.h"

namespace gallop::diffusion {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::make_objective;
using testing::make_sampler;
using testing::message_of;
using testing::States;
using testing::TinyNetwork;

// The cases name runs as <method>_<form of w>_<last step>.
struct Run {
  explicit Run(const std::string& name) {
    const size_t first = name.find('_'), second = name.rfind('_');
    require(first < second && second != std::string::npos, "run '", name,
            "' is not named <method>_<form>_<last step>");
    method = name.substr(0, first);
    form = name.substr(first + 1, second - first - 1);
    last = name.substr(second + 1);
  }
  const char* sampler() const {
    if (method == "em") return "euler-maruyama";
    require(method == "heun", "a run by '", method, "', neither em nor heun");
    return "sde-heun";
  }
  std::string method, form, last;
};

// The norm of w(t): the config's, by run. Where it has none, it is 1, except in the constant form,
// where it is w itself: what the first Euler-Maruyama step z + (v + w s) h + sqrt(2 w h) noise
// shows. With u = sqrt(w) that is a quadratic equation along the noise.
double norm_of(const Fixture& fixture, const std::string& name, const Flow& flow,
               const Network& network) {
  const Json& config = fixture.config();
  if (const Json* norms = config.find("norms")) return norms->at(name).as_double();
  if (Run(name).form != "constant") return 1;
  const double h = (1 - config.at("last_step_size").as_double()) /
                   static_cast<double>(config.at("num_steps").as_int() - 1);
  const at::Tensor z = fixture.in("z").to(at::kDouble), noise = fixture.in("noise")[0];
  const at::Tensor t_B = at::zeros({z.size(0)}, at::kDouble);
  const at::Tensor v = network(fixture.in("z"), t_B), s = flow.score_from_velocity(v, z, t_B);
  const auto along_noise = [&](const at::Tensor& x) { return x.mul(noise).sum().item<double>(); };
  const double a = h * along_noise(s), b = std::sqrt(2 * h) * along_noise(noise),
               c = along_noise(z + h * v - fixture.tensor("out." + name + ".x")[0]);
  const double u = -2 * c / (b + std::sqrt(b * b - 4 * a * c));
  return u * u;
}

REFERENCE_TEST(SdeCases, EveryRunGoesThroughTheStatesOfTheReference, "diffusion/flow_sde") {
  const Json& config = fixture.config();
  const auto objective = testing::flow_objective_of(fixture);
  const int64_t steps = config.at("num_steps").as_int();
  const Network network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor noise = fixture.in("noise");
  const Flow& flow = dynamic_cast<const FlowObjective&>(*objective).flow();
  for (std::string name : fixture.names_with_prefix("out.")) {
    name = name.substr(0, name.rfind(".x"));
    const Run run(name);
    const double norm = norm_of(fixture, name, flow, network);
    const auto sampler =
        make_sampler<SdeSettings>(run.sampler(), objective, steps, [&](SdeSettings& s) {
          s.diffusion = testing::diffusion_form(run.form);
          s.norm = norm;
          s.last = run.last;
          s.last_step = config.at("last_step_size").as_double();
        });
    int64_t calls = 0;
    States trajectory;
    sampler->sample(
        [&](const at::Tensor& x, const at::Tensor& t_B) {
          ++calls;
          return network(x, t_B);
        },
        fixture.in("z"), [&](int64_t step) { return noise[step]; }, trajectory.callback());
    EXPECT_EQ(sampler->evaluations(), calls) << name;
    fixture.expect_close(trajectory.states(), "out." + name + ".x");
  }
  fixture.expect_all_checked();
}

// Without noise the SDE is the probability-flow ODE: w = 0 removes the score and the noise.
REFERENCE_TEST(SdeCases, WithNormZeroItIsTheOde, "diffusion/flow_sde") {
  const auto objective = make_objective<FlowSettings>("flow", [](FlowSettings&) {});
  const Network network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor z = fixture.in("z");
  // 24 steps of 0.04 and the last one are 25 even steps.
  const auto sde = make_sampler<SdeSettings>("euler-maruyama", objective, 25,
                                             [](SdeSettings& s) { s.norm = 0; });
  const auto ode = make_sampler<OdeSettings>("euler", objective, 25, [](OdeSettings&) {});
  testing::expect_close(sde->sample(network, z, [&](int64_t) { return at::ones_like(z); }),
                        ode->sample(network, z), fixture.rtol(), fixture.atol(), "norm = 0");
}

TEST(Sde, NeedsNoiseAndRoomForItsSteps) {
  const auto objective = make_objective<FlowSettings>("flow", [](FlowSettings&) {});
  const auto sampler =
      make_sampler<SdeSettings>("euler-maruyama", objective, 4, [](SdeSettings&) {});
  EXPECT_TRUE(sampler->needs_noise());
  const Network network = [](const at::Tensor& x, const at::Tensor&) { return x; };
  EXPECT_THAT(message_of([&] { sampler->sample(network, at::zeros({1, 1, 2, 2})); }),
              HasSubstr("draws noise at its steps and was given none"));
  EXPECT_THAT(message_of([&] { sampler->sample(network, at::zeros({2, 2})); }),
              HasSubstr("[batch, channels, height, width]"));

  SdeSettings settings;
  settings.start = 0.97;
  EXPECT_THAT(message_of([&] { settings.validate(); }), HasSubstr("leaves no room"));
}

}  // namespace
}  // namespace gallop::diffusion
