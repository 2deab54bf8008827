#include "gallop/diffusion/samplers/sde.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/diffusion/samplers/runge_kutta.h"
#include "tests/diffusion/samplers/trajectory.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_network.h"

namespace gallop::diffusion {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::make_process;
using testing::make_sampler;
using testing::message_of;
using testing::TinyNetwork;
using testing::Trajectory;

class SdePaths : public ::testing::TestWithParam<const char*> {};

TEST_P(SdePaths, EverySettingGoesThroughTheStatesOfTheReference) {
  const Fixture fixture(std::string("diffusion/flow_sde_") + GetParam());
  const Json& config = fixture.config();
  const auto process =
      make_process<FlowSettings>("flow", [](FlowSettings& s) { s.path = GetParam(); });
  const int64_t steps = config.at("num_steps").as_int();
  const Denoiser network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor noise = fixture.in("noise");
  // The file does not name the norm of its constant form; its first step gives w = 0.5.
  const struct {
    const char *name, *sampler, *diffusion, *last;
    double norm;
  } settings[] = {{"em_sigma_mean", "euler-maruyama", "sigma", "mean", 1},
                  {"em_linear_tweedie", "euler-maruyama", "linear", "tweedie", 1},
                  {"em_constant_euler", "euler-maruyama", "constant", "euler", 0.5},
                  {"em_decreasing_mean", "euler-maruyama", "decreasing", "mean", 1},
                  {"heun_sigma_mean", "sde-heun", "sigma", "mean", 1}};
  for (const auto& [name, kind, diffusion, last, norm] : settings) {
    const auto sampler = make_sampler<SdeSettings>(
        kind, process, steps, [&, diffusion = diffusion, last = last, norm = norm](SdeSettings& s) {
          s.diffusion = diffusion;
          s.norm = norm;
          s.last = last;
          s.last_step = config.at("last_step_size").as_double();
        });
    int64_t calls = 0;
    Trajectory trajectory;
    sampler->sample(
        [&](const at::Tensor& x, const at::Tensor& t_B) {
          ++calls;
          return network(x, t_B);
        },
        fixture.in("z"), [&](int64_t step) { return noise[step]; }, trajectory.callback());
    EXPECT_EQ(sampler->evaluations(), calls) << name;
    fixture.expect_close(trajectory.states(), std::string("out.") + name + ".x");
  }
  fixture.expect_all_checked();
}

INSTANTIATE_TEST_SUITE_P(Paths, SdePaths, ::testing::Values("linear", "gvp"));

// Without noise the SDE is the probability-flow ODE: w = 0 removes the score and the noise.
TEST(Sde, WithNormZeroIsTheOde) {
  const Fixture fixture("diffusion/flow_sde_linear");
  const auto process = make_process<FlowSettings>("flow", [](FlowSettings&) {});
  const Denoiser network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor z = fixture.in("z");
  // 24 steps of 0.04 and the last one are 25 even steps.
  const auto sde =
      make_sampler<SdeSettings>("euler-maruyama", process, 25, [](SdeSettings& s) { s.norm = 0; });
  const auto ode = make_sampler<OdeSettings>("euler", process, 25, [](OdeSettings&) {});
  testing::expect_close(sde->sample(network, z, [&](int64_t) { return at::ones_like(z); }),
                        ode->sample(network, z), 1e-5, 1e-6, "norm = 0");
}

TEST(Sde, NeedsNoiseAndRoomForItsSteps) {
  const auto process = make_process<FlowSettings>("flow", [](FlowSettings&) {});
  const auto sampler = make_sampler<SdeSettings>("euler-maruyama", process, 4, [](SdeSettings&) {});
  EXPECT_TRUE(sampler->needs_noise());
  const Denoiser network = [](const at::Tensor& x, const at::Tensor&) { return x; };
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
