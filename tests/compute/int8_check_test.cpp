#include "gallop/compute/int8_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/runs/restore.h"
#include "gallop/tasks/images/settings.h"
#include "tests/support/tiny_run.h"

namespace gallop::compute {
namespace {

using training::recipe_in;

using ::testing::HasSubstr;

TEST(Int8Check, MeasuresBothWays) {
  runs::Recipe recipe = recipe_in(
      "unused", {"model.width=64", "model.mlp.selection={kind=\"race\",inference=\"top-k\"}"});
  const auto task = runs::make_task(recipe);
  const auto model = task->make_model();
  model->materialize(/*seed=*/0, {}, /*gradients=*/false);
  // The first weights of a DiT put out zeros.
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter->trainable()) (**parameter).add_(0.01);
  }
  const ops::Int8Weights weights = make_int8_weights(*model);
  const auto asked = task->generator()->settings();
  auto& settings = dynamic_cast<tasks::SampleSettings&>(*asked);
  settings.labels = {"0", "1"};
  settings.count = 6;
  settings.steps = 2;
  const tasks::Plan plan = task->generator()->plan(*model, settings);
  int64_t last = 0, all = 0;
  const Int8Check check =
      check_int8(*task, *model, weights, plan, [&](int64_t done, int64_t total) {
        EXPECT_GE(done, last);
        last = done;
        all = total;
      });
  EXPECT_EQ(last, all);
  EXPECT_EQ(check.held_out, 12);
  EXPECT_EQ(check.drawn, int8_check_draws);
  EXPECT_NE(check.loss_int8, check.loss_float);
  EXPECT_NEAR(check.loss_int8, check.loss_float, 0.02 * check.loss_float);
  EXPECT_GT(check.change, 0);
  EXPECT_LT(check.change, 0.1);
  EXPECT_EQ(weights.numel_used(), weights.numel());
  EXPECT_THAT(describe(weights, *model), HasSubstr("ran in 8 bits"));
  EXPECT_THAT(describe(check), HasSubstr("held-out loss of 12 samples"));
}

TEST(Int8Check, RefusesAModelInDoublePrecision) {
  const auto model = runs::make_task(recipe_in("unused", {"model.width=64"}))->make_model();
  model->materialize(0, {.dtype = at::kDouble}, false);
  EXPECT_THROW(make_int8_weights(*model), Error);
}

}  // namespace
}  // namespace gallop::compute
