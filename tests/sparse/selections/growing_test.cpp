#include "gallop/sparse/selections/growing.h"

#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;
using testing::Selector;

REFERENCE_TEST(GrowingCases, SchedulesMatchTheReference, "routing/kind_k_schedule") {
  GrowingSettings settings;
  settings.from = fixture.config().at("kmin").as_int();
  settings.steps = fixture.config().at("T").as_int();
  const at::Tensor k = fixture.out("k").clone();
  for (int64_t i = 0; i < k.size(0); ++i) {
    k[i].fill_(settings.active_at(fixture.in("steps")[i].item<int64_t>(),
                                  fixture.config().at("kmax").as_int()));
  }
  fixture.expect_close(k, "out.k");
  fixture.expect_all_checked();
}

// 1 to 4 over 6 steps; half steps go to the even number: 1, 1.5, 2, 2.5, 3, 3.5, 4.
TEST(Growing, FollowsTheAppliedSteps) {
  const at::Tensor logits = random_normal({2, 3, 4}, "growing");
  Selector selector("kind = \"growing\"\nsteps = 6", logits.sizes(), 4);
  const Scores scores{logits, logits, logits};
  const int64_t expected[] = {1, 2, 2, 2, 3, 4, 4, 4};
  for (int64_t step = 0; step < 8; ++step) {
    const Selected selected = selector.select(scores);
    EXPECT_TRUE(selected.mask_BLE().sum(-1).eq(expected[step]).all().item<bool>()) << step;
    EXPECT_TRUE(selector.select(scores, /*training=*/false).mask_BLE().equal(selected.mask_BLE()));
    selector.select(scores);  // a skipped step: its update is dropped
    for (const PendingUpdate& update : selected.pending) update.commit(step);
  }
  EXPECT_EQ(selector.buffer("router.step")->item<float>(), 8);
}

TEST(Growing, RefusesMoreThanThereAre) {
  EXPECT_THROW(Selector("kind = \"growing\"\nfrom = 5", {1, 3, 4}, 2), Error);
}

}  // namespace
}  // namespace gallop::sparse
