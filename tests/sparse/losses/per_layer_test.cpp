#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/models/dit/patches.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

REFERENCE_TEST(PerLayerCases, MatchTheReference, "routing/plr") {
  const Json& config = fixture.config();
  const int64_t layers = config.at("layers").as_int();
  const at::Tensor target =
      models::patchify(fixture.in("target_image"), config.at("patch").as_int());
  fixture.expect_close(target, "out.target");
  for (const Json& named : config.at("reductions").as_array()) {
    const std::string& reduction = named.as_string();
    const auto loss = testing::make<SparseLoss>(
        "kind = \"per_layer\"\nweight = 1\nreduction = \"" + reduction + "\"", {.layers = layers});
    EXPECT_TRUE(loss->needs_head());
    const at::Tensor heads = fixture.in("heads").clone().set_requires_grad(true);
    std::vector<at::Tensor> values;
    for (int64_t layer = 0; layer < layers; ++layer) {
      RoutingRecord record;
      record.head_BLH = heads[layer];
      values.push_back(loss->value(record, target));
    }
    const at::Tensor per_layer = at::stack(values);
    if (reduction == "sum") fixture.expect_close(per_layer, "out.per_layer");
    const at::Tensor total = per_layer.sum();
    fixture.expect_close(total, "out." + reduction);
    total.backward();
    fixture.expect_close(heads.grad(), "grad." + reduction + ".heads");
  }
  fixture.expect_all_checked();
}

TEST(PerLayer, NeedsAHeadAndATarget) {
  const auto loss = testing::make<SparseLoss>("kind = \"per_layer\"\nweight = 1", {});
  RoutingRecord record;
  record.layer = "blocks.3.moe";
  EXPECT_THAT(testing::message_of([&] { loss->value(record, at::zeros({1})); }),
              ::testing::HasSubstr("blocks.3.moe"));
  record.head_BLH = at::zeros({1, 2, 3});
  EXPECT_THROW(loss->value(record, {}), Error);
}

}  // namespace
}  // namespace gallop::sparse
