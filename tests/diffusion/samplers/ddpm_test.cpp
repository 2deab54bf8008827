#include "gallop/diffusion/samplers/ddpm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/diffusion/ddpm_case.h"
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

REFERENCE_TEST(AncestralCases, GoThroughTheStatesOfTheReference, "diffusion/ancestral_loop") {
  const auto objective = testing::ddpm_objective_of(fixture);
  const testing::Respacing respacing(fixture);
  const TinyNetwork network(fixture);
  const at::Tensor noise = fixture.in("noise"), label_B = fixture.in("y");
  for (const auto& [name, setting] : fixture.config().at("settings").as_object()) {
    const auto sampler = make_sampler<DdpmSamplerSettings>(
        "ddpm", objective, respacing.steps, [&](DdpmSamplerSettings& s) {
          s.spacing = respacing.spacing;
          s.clip = setting.at("clip_denoised").as_bool();
        });
    EXPECT_EQ(sampler->evaluations(), respacing.steps);
    States trajectory;
    std::vector<at::Tensor> times;
    const at::Tensor samples = sampler->sample(
        [&](const at::Tensor& x, const at::Tensor& t_B) {
          times.insert(times.begin(), t_B[0]);
          return network(x, t_B, label_B);
        },
        noise[0], [&](int64_t step) { return noise[1 + step]; }, trajectory.callback());
    fixture.expect_close(trajectory.states(), "out." + name + ".x");
    fixture.expect_close(trajectory.clean(), "out." + name + ".pred_xstart");
    fixture.expect_close(at::stack(times), "out.timestep_map");
    EXPECT_TRUE(samples.equal(trajectory.x.back()));
  }
  fixture.expect_all_checked();
}

TEST(DdpmSampler, RefusesMoreStepsThanTheProcessHas) {
  const auto objective =
      make_objective<DdpmSettings>("ddpm", [](DdpmSettings& s) { s.steps = 50; });
  const auto make = [&](int64_t steps, const char* spacing) {
    make_sampler<DdpmSamplerSettings>("ddpm", objective, steps,
                                      [&](DdpmSamplerSettings& s) { s.spacing = spacing; });
  };
  EXPECT_THAT(message_of([&] { make(51, "even"); }), HasSubstr("asks for 51 of 50 steps"));
  EXPECT_THAT(message_of([&] { make(0, "even"); }), HasSubstr("at least one step, not 0"));
  EXPECT_THAT(message_of([&] { make(40, "ddim"); }), HasSubstr("exactly 40"));
  EXPECT_EQ(message_of([&] { make(25, "ddim"); }), "no error");
}

}  // namespace
}  // namespace gallop::diffusion
