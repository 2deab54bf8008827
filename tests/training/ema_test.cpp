#include "gallop/training/ema.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "gallop/base/error.h"
#include "tests/support/fixture.h"
#include "tests/training/tensors_module.h"

namespace gallop::training {
namespace {

using testing::TensorsModule;

REFERENCE_TEST(EmaCases, FollowTheWeightsAsDiT, "diffusion/ema") {
  const int64_t steps = fixture.config().at("steps").as_int();
  for (const Json& decay : fixture.config().at("decay").as_array()) {
    std::string run = "decay" + decay.dump();
    std::replace(run.begin(), run.end(), '.', '_');
    for (const std::string& name : fixture.names_with_prefix("in.param.")) {
      TensorsModule model({{"w", fixture.in("param." + name)}});
      TensorsModule average({{"w", fixture.in("param." + name)}});
      const at::Tensor trajectory = fixture.in("trajectory." + name);
      const at::Tensor averages = at::zeros(trajectory.sizes());
      for (int64_t step = 0; step < steps; ++step) {
        (**model.find_parameter("w")).detach().copy_(trajectory.select(0, step));
        update_ema(model, average, decay.as_double());
        averages.select(0, step).copy_((**average.find_parameter("w")).detach());
      }
      fixture.expect_close(averages, "out." + run + "." + name);
    }
  }
  fixture.expect_all_checked();
}

// A threshold before its first value is NaN: averaging would keep it so for ever.
TEST(Ema, BuffersAndFrozenTablesAreCopied) {
  TensorsModule model({{"w", at::full({2}, 1.0)}}), average({{"w", at::full({2}, 0.0)}});
  model.add("threshold", at::full({}, 0.5), {.buffer = true});
  average.add("threshold", at::full({}, std::numeric_limits<double>::quiet_NaN()),
              {.buffer = true});
  model.add("pos_embed", at::full({2}, 3.0), {.frozen = true});
  average.add("pos_embed", at::full({2}, 0.0), {.frozen = true});
  update_ema(model, average, 0.75);
  const auto first = [&](const char* name) {
    return (**average.find_parameter(name)).detach().reshape({-1})[0].item<double>();
  };
  EXPECT_NEAR(first("w"), 0.25, 1e-7);
  EXPECT_EQ(first("threshold"), 0.5);
  EXPECT_EQ(first("pos_embed"), 3);
}

TEST(Ema, ModelsOfDifferentSizeAreRefused) {
  TensorsModule model({{"w", at::zeros({2})}}), average({});
  EXPECT_THROW(update_ema(model, average, 0.5), Error);
}

}  // namespace
}  // namespace gallop::training
