#include "gallop/sparse/selections/dense_to_sparse.h"

#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;
using testing::scores_of;
using testing::Selector;

REFERENCE_TEST(DenseToSparseCases, MatchTheReference, "routing/kind_evomoe") {
  DenseToSparseSettings settings;
  settings.from = fixture.number_in("schedule", "tmax ([0-9][0-9.eE+-]*)");
  settings.to = fixture.number_in("schedule", "tmin ([0-9][0-9.eE+-]*)");
  settings.steps = static_cast<int64_t>(fixture.number_in("schedule", "T ([0-9]+)"));
  settings.threshold = fixture.config().at("threshold").as_double();
  for (const char* schedule : {"exponential", "linear"}) {
    settings.schedule = schedule;
    const std::string out = std::string("out.schedule.") + schedule;
    const at::Tensor temperature = fixture.tensor(out).clone();
    for (int64_t i = 0; i < temperature.size(0); ++i) {
      temperature[i].fill_(
          settings.temperature_at(fixture.in("schedule_steps")[i].item<int64_t>()));
    }
    fixture.expect_close(temperature, out);
  }

  const auto& temperatures = fixture.config().at("temperatures").as_array();
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const Scores scores = scores_of("softmax", logits.unsqueeze(0));
  for (size_t i = 0; i < temperatures.size(); ++i) {
    const std::string number = std::to_string(i), out = "out." + number + ".";
    const at::Tensor p = gumbel_softmax(logits, fixture.in("uniform"), temperatures[i].as_double());
    fixture.expect_close(p, out + "p");
    fixture.expect_close(p.argmax(1), "out.hard_expert");
    const at::Tensor mask = p.gt(settings.threshold);
    fixture.expect_close(mask, out + "mask");
    for (const auto& [name, gate] :
         {std::pair("softmax", scores.gate_BLE[0]), std::pair("gumbel", p)}) {
      fixture.expect_close(gate.mul(mask), out + name + "_weight");
      logits.mutable_grad().reset();
      gate.mul(mask).mul(fixture.in("cotangent")).sum().backward({}, /*retain_graph=*/true);
      fixture.expect_close(logits.grad(), "grad." + number + "." + name + ".logits");
    }
  }
  fixture.expect_all_checked();
}

// Hot: all experts; cold: nearly one; after the switch: exactly one, and at inference always.
TEST(DenseToSparse, ThinsOutOverTheAppliedSteps) {
  const at::Tensor logits = random_normal({2, 16, 4}, "thin").set_requires_grad(true);
  Selector selector(
      "kind = \"dense_to_sparse\"\nfrom = 100\nto = 0.01\nsteps = 10\nhard_after = 20\nweights = "
      "\"gumbel\"",
      logits.sizes(), 1);
  const Scores scores = scores_of("softmax", logits);
  const auto kept_at = [&](float step) {
    selector.buffer("router.step")->fill_(step);
    return selector.select(scores);
  };
  EXPECT_TRUE(kept_at(0).mask_BLE().all().item<bool>());
  const Selected cold = kept_at(10);
  EXPECT_LT(cold.mask_BLE().sum().item<int64_t>(), 2 * 16 * 2);
  EXPECT_TRUE(cold.gate_BLE.requires_grad());
  EXPECT_FALSE(cold.mask_BLE().sum(-1).eq(1).all().item<bool>());
  EXPECT_TRUE(kept_at(20).mask_BLE().sum(-1).eq(1).all().item<bool>());
  const Selected inferred = selector.select(scores, /*training=*/false);
  EXPECT_TRUE(inferred.mask_BLE().equal(
      Selector("kind = \"token\"", logits.sizes(), 1).mask(logits.detach())));
  EXPECT_FALSE(inferred.gate_BLE.defined());

  for (const PendingUpdate& update : cold.pending) update.commit(41);
  EXPECT_EQ(selector.buffer("router.step")->item<float>(), 42);
}

TEST(DenseToSparse, RefusesATemperatureThatRises) {
  EXPECT_THROW(Selector("kind = \"dense_to_sparse\"\nfrom = 0.1", {1, 3, 4}, 2), Error);
}

}  // namespace
}  // namespace gallop::sparse
