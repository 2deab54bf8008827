#include "gallop/diffusion/samplers/ddim.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/diffusion/ddpm_case.h"
#include "tests/support/tiny_network.h"

namespace gallop::diffusion {
namespace {

using testing::make_sampler;
using testing::States;
using testing::TinyNetwork;

REFERENCE_TEST(DdimCases, GoThroughTheStatesOfTheReference, "diffusion/ddim_loop") {
  const Json& config = fixture.config();
  const auto objective = testing::ddpm_objective_of(fixture);
  const testing::Respacing respacing(fixture);
  const Network network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor noise = fixture.in("noise");
  for (const auto& [name, setting] : config.at("settings").as_object()) {
    const auto sampler =
        make_sampler<DdimSettings>("ddim", objective, respacing.steps, [&](DdimSettings& s) {
          s.spacing = respacing.spacing;
          s.clip = setting.at("clip_denoised").as_bool();
          s.eta = setting.at("eta").as_double();
        });
    EXPECT_EQ(sampler->needs_noise(), setting.at("eta").as_double() > 0);
    States trajectory;
    sampler->sample(
        network, noise[0], [&](int64_t step) { return noise[1 + step]; }, trajectory.callback());
    fixture.expect_close(trajectory.states(), "out." + name + ".x");
    fixture.expect_close(trajectory.clean(), "out." + name + ".pred_xstart");
  }

  const GaussianDiffusion diffusion =
      dynamic_cast<const DdpmObjective&>(*objective).diffusion().respaced(respacing.text);
  fixture.expect_close(at::tensor(diffusion.schedule().timestep_map, at::kLong),
                       "out.timestep_map");
  States inversion;
  const at::Tensor inverted = ddim_invert(diffusion, network, fixture.in("reverse_x0"),
                                          /*clip=*/false, inversion.callback());
  fixture.expect_close(inversion.states(), "out.reverse.x");
  EXPECT_TRUE(inverted.equal(inversion.x.back()));
  fixture.expect_all_checked();
}

}  // namespace
}  // namespace gallop::diffusion
