#include "gallop/diffusion/samplers/ddim.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/diffusion/samplers/trajectory.h"
#include "tests/support/tiny_network.h"

namespace gallop::diffusion {
namespace {

using testing::Fixture;
using testing::make_process;
using testing::make_sampler;
using testing::TinyNetwork;
using testing::Trajectory;

class DdimLoop : public ::testing::TestWithParam<const char*> {};

TEST_P(DdimLoop, GoesThroughTheStatesOfTheReference) {
  const Fixture fixture(GetParam());
  const Json& config = fixture.config();
  const auto process = make_process<DdpmSettings>("ddpm", [&](DdpmSettings& s) {
    s.schedule = config.at("schedule").as_string() == "linear" ? "linear" : "cosine";
    s.steps = config.at("T").as_int();
    s.prediction = config.at("predict_xstart").as_bool() ? "x0" : "eps";
  });
  const std::string respacing = config.at("respacing").as_string();
  const Denoiser network = TinyNetwork(fixture).with_labels(fixture.in("y"));
  const at::Tensor noise = fixture.in("noise");
  for (const auto& [name, setting] : config.at("settings").as_object()) {
    const auto sampler =
        make_sampler<DdimSettings>("ddim", process, std::stoll(respacing), [&](DdimSettings& s) {
          s.clip = setting.at("clip_denoised").as_bool();
          s.eta = setting.at("eta").as_double();
        });
    EXPECT_EQ(sampler->needs_noise(), setting.at("eta").as_double() > 0);
    Trajectory trajectory;
    sampler->sample(
        network, noise[0], [&](int64_t step) { return noise[1 + step]; }, trajectory.callback());
    fixture.expect_close(trajectory.states(), "out." + name + ".x");
    fixture.expect_close(trajectory.clean(), "out." + name + ".pred_xstart");
  }

  const GaussianDiffusion diffusion =
      dynamic_cast<const DdpmProcess&>(*process).diffusion().respaced(respacing);
  fixture.expect_close(at::tensor(diffusion.schedule().timestep_map, at::kLong),
                       "out.timestep_map");
  Trajectory inversion;
  const at::Tensor inverted = ddim_invert(diffusion, network, fixture.in("reverse_x0"),
                                          /*clip=*/false, inversion.callback());
  fixture.expect_close(inversion.states(), "out.reverse.x");
  EXPECT_TRUE(inverted.equal(inversion.x.back()));
  fixture.expect_all_checked();
}

INSTANTIATE_TEST_SUITE_P(Schedules, DdimLoop,
                         ::testing::Values("diffusion/ddim_loop_linear",
                                           "diffusion/ddim_loop_cosine"));

}  // namespace
}  // namespace gallop::diffusion
