#include "gallop/sparse/selections/capacity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::random_normal;
using testing::scores_of;
using testing::Selector;
using testing::tensor_of;

at::Tensor whole(int64_t value) { return at::zeros({}, at::TensorOptions(at::kLong)).add(value); }

REFERENCE_TEST(CapacityCases, Top1MatchesTheReference, "routing/kind_capacity_top1") {
  const int64_t T = fixture.config().at("T").as_int(), E = fixture.config().at("E").as_int();
  CapacitySettings settings;
  settings.factor = fixture.config().at("capacity_factor").as_double();
  for (const auto& [rounding, want] : fixture.config().at("capacity_rules").as_object()) {
    settings.rounding = rounding;
    EXPECT_EQ(settings.capacity(T, E, 1), want.as_int()) << rounding;
  }
  settings.rounding = "tutel";
  const int64_t capacity = settings.capacity(T, E, 1);
  fixture.expect_close(whole(capacity), "out.capacity");

  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const Scores scores = scores_of("softmax", logits.unsqueeze(0));
  fixture.expect_close(scores.gate_BLE[0], "out.probabilities");
  const std::pair<const char*, at::Tensor> orders[] = {
      {"prefix", at::arange(T)},
      {"score", by_priority(scores.gate_BLE[0].amax(-1))},
      {"random", by_priority(fixture.in("priority"))}};
  for (const auto& [order, order_T] : orders) {
    const std::string out = std::string("out.") + order + ".";
    const CapacityPlaces placed = place(logits, 1, capacity, order_T);
    fixture.expect_close(placed.expert_Tk.squeeze(1), "out.expert");
    fixture.expect_close(placed.kept_Tk.squeeze(1), out + "kept");
    fixture.expect_close(placed.location_Tk.squeeze(1), out + "location");
    const Selected selected{.pairs =
                                Pairs::of_mask(at::zeros({T, E}, at::TensorOptions(at::kBool))
                                                   .scatter(1, placed.expert_Tk, placed.kept_Tk)
                                                   .unsqueeze(0))};
    fixture.expect_close(selected.mask_BLE()[0].sum(0), out + "loads");
    const at::Tensor weights = testing::weights_of("kind = \"gate\"", scores, selected)[0];
    fixture.expect_close(weights, out + "weight");
    logits.mutable_grad().reset();
    weights.mul(fixture.in("cotangent")).sum().backward({}, /*retain_graph=*/true);
    fixture.expect_close(logits.grad(), std::string("grad.") + order + ".logits");

    // The selection itself, where its order needs no given priorities.
    if (std::string(order) == "random") continue;
    const Selector selector(
        "kind = \"capacity\"\nfactor = " + fixture.config().at("capacity_factor").dump() +
            "\norder = \"" + order + "\"",
        {1, T, E}, 1);
    const Selected chosen = selector.select(scores);
    EXPECT_TRUE(chosen.mask_BLE().equal(selected.mask_BLE())) << order;
    logits.mutable_grad().reset();
    const at::Tensor balance = testing::loss_of("balance", testing::record_of(scores, chosen, 1));
    fixture.expect_close(balance, "out.balance");
    balance.backward({}, /*retain_graph=*/true);
    fixture.expect_close(logits.grad(), "grad.balance.logits");
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(CapacityCases, Top2MatchesTheReference, "routing/kind_capacity_top2") {
  const Json& config = fixture.config();
  const int64_t T = config.at("T").as_int(), E = config.at("E").as_int(),
                D = config.at("D").as_int();
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const Scores scores = scores_of("softmax", logits.unsqueeze(0));
  const std::string factor = config.at("capacity_factor").dump();
  const Selector selector("kind = \"capacity\"\nfactor = " + factor, {1, T, E}, 2);
  const Selected selected = selector.select(scores);
  CapacitySettings settings;
  settings.factor = config.at("capacity_factor").as_double();
  const int64_t capacity = settings.capacity(T, E, 2);
  EXPECT_EQ(capacity, config.at("capacity").as_int());
  const CapacityPlaces placed = place(logits, 2, capacity, at::arange(T));
  fixture.expect_close(placed.expert_Tk, "out.experts");
  fixture.expect_close(placed.location_Tk, "out.location");
  fixture.expect_close(placed.kept_Tk, "out.kept");
  fixture.expect_close(selected.mask_BLE()[0].sum(0), "out.loads");

  at::Tensor before;
  for (const auto& [name, over] : {std::pair("after", "kept"), std::pair("before", "chosen")}) {
    const at::Tensor weights = testing::weights_of(
        std::string("kind = \"sum\"\nover = \"") + over + "\"", scores, selected)[0];
    fixture.expect_close(weights, std::string("out.") + name + ".weight");
    logits.mutable_grad().reset();
    weights.mul(fixture.in("weight_cotangent")).sum().backward({}, /*retain_graph=*/true);
    fixture.expect_close(logits.grad(), std::string("grad.") + name + ".logits");
    before = weights;
  }

  // The published buffer of E * capacity rows, whose decoding is what grouped experts that do
  // nothing give back: our pairs are its used rows.
  const at::Tensor row_Tk = placed.expert_Tk.mul(capacity).add(placed.location_Tk);
  at::Tensor buffer = at::zeros({E * capacity, D}), decoded = at::zeros({T, D});
  for (int64_t choice = 0; choice < 2; ++choice) {
    const at::Tensor kept_T = placed.kept_Tk.select(1, choice).nonzero().squeeze(1);
    buffer = buffer.index_copy(0, row_Tk.select(1, choice).index_select(0, kept_T),
                               x.index_select(0, kept_T));
  }
  const Kept pairs = keep(selected.pairs, before.unsqueeze(0));
  decoded = decoded.index_add(0, pairs.token_P(),
                              x.index_select(0, pairs.token_P()) * pairs.weights_P.unsqueeze(1));
  fixture.expect_close(buffer, "out.buffer");
  fixture.expect_close(decoded, "out.decoded");
  logits.mutable_grad().reset();
  decoded.mul(fixture.in("cotangent")).sum().backward({}, /*retain_graph=*/true);
  fixture.expect_close(logits.grad(), "grad.decoded.logits");
  fixture.expect_close(x.grad(), "grad.decoded.x");

  logits.mutable_grad().reset();
  const at::Tensor loss =
      testing::loss_of("balance", testing::record_of(scores, selected, 2), "count = \"first\"");
  fixture.expect_close(loss, "out.gshard_loss");
  loss.backward();
  fixture.expect_close(logits.grad(), "grad.gshard_loss.logits");
  fixture.expect_all_checked();
}

TEST(Capacity, NaNComesLast) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor key_TE = tensor_of({nan, 1, 3, 2, nan, nan}).reshape({2, 3});
  EXPECT_TRUE(place(key_TE, 2, 9, at::arange(2))
                  .expert_Tk.equal(tensor_of({2, 1, 0, 1}).to(at::kLong).reshape({2, 2})));
  EXPECT_TRUE(by_priority(tensor_of({nan, 1, 2})).equal(tensor_of({2, 1, 0}).to(at::kLong)));
}

TEST(Capacity, DropsNothingAtInferenceUnlessAskedTo) {
  const at::Tensor logits = tensor_of({1, 0, 1, 0, 1, 0, 1, 0}).reshape({2, 2, 2});
  const Selector keeps("kind = \"capacity\"", logits.sizes(), 1);
  EXPECT_EQ(keeps.mask(logits, /*training=*/true).sum().item<int64_t>(), 2);
  EXPECT_EQ(keeps.mask(logits, /*training=*/false).sum().item<int64_t>(), 4);
  EXPECT_TRUE(keeps->independent_at_inference());
  const Selector drops("kind = \"capacity\"\ninference = \"drop\"", logits.sizes(), 1);
  EXPECT_EQ(drops.mask(logits, /*training=*/false).sum().item<int64_t>(), 2);
  EXPECT_FALSE(drops->independent_at_inference());
}

TEST(Capacity, RandomOrderComesFromTheNoiseOfTheStep) {
  const at::Tensor logits = random_normal({2, 32, 4}, "random");
  const Selector selector("kind = \"capacity\"\norder = \"random\"\nfactor = 0.5", logits.sizes(),
                          1);
  const Scores scores{logits, logits, logits};
  const auto mask = [&](uint64_t sample) {
    return selector
        ->select(scores, {.training = true, .noise = {.seed = 1, .purpose = "t", .sample = sample}})
        .mask_BLE();
  };
  EXPECT_TRUE(mask(0).equal(mask(0)));
  EXPECT_FALSE(mask(0).equal(mask(2)));
}

TEST(Capacity, RefusesWhatNoExpertCouldDo) {
  const at::Tensor logits = random_normal({1, 4, 4}, "refuse");
  EXPECT_THAT(
      testing::message_of([] { Selector("kind = \"capacity\"\nfactor = 0", {1, 4, 4}, 1); }),
      HasSubstr("out of range"));
  EXPECT_THAT(testing::message_of([] { Selector("kind = \"capacity\"", {1, 4, 4}, 1.5); }),
              HasSubstr("whole number of choices"));
  EXPECT_THAT(testing::message_of([&] { place(logits[0], 5, 1, at::arange(4)); }),
              HasSubstr("5 choices of 4 experts"));
  EXPECT_THAT(testing::message_of([&] { place(logits[0], 1, 0, at::arange(4)); }),
              HasSubstr("takes 0 tokens"));
}

}  // namespace
}  // namespace gallop::sparse
