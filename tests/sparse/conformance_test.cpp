// What every registered gate with every registered selection must keep to, in a whole layer. A new
// kind is found in the registry and needs no line here.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "gallop/config/registry.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/gate.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/choice/selection.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/threads.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::random_normal;

constexpr int64_t kB = 3, kL = 4, kD = 6;

struct Sizes {
  int64_t experts = 4;
  double active = 2;
};

// A layer of one gate and one selection in double precision, with a linear router.
class Layer {
 public:
  Layer(const std::string& gate, const std::string& selection, Sizes sizes = {})
      : layer_(testing::make<nn::FeedForward>(
            "kind = \"moe\"\nhidden = 5\nexperts = " + std::to_string(sizes.experts) +
                "\nactive = " + std::to_string(sizes.active) + "\ngate = \"" + gate +
                "\"\nselection = \"" + selection +
                "\"\nrouter = { kind = \"linear\", bias = true }",
            {.parent = &root_, .D = kD, .tokens = kL, .layers = 1})) {
    root_.materialize(/*seed=*/7, {.dtype = at::kDouble});
  }
  at::Tensor forward(const at::Tensor& x_BLD, bool training) {
    std::vector<RoutingRecord> records;
    const at::Tensor y_BLD = layer_->forward(
        x_BLD, {.training = training,
                .noise = {.seed = 1, .purpose = "test"},
                .unconditional_B = at::zeros({x_BLD.size(0)}, at::TensorOptions(at::kBool)),
                .routing = &records});
    record = std::move(records.at(0));
    return y_BLD;
  }
  /// A training step: what the selection wanted remembered is.
  void step(const at::Tensor& x_BLD) {
    forward(x_BLD, /*training=*/true);
    for (const PendingUpdate& update : record.pending) update.commit(0);
  }
  nn::Parameter& parameter(const std::string& name) { return *root_.find_parameter(name); }
  std::vector<at::Tensor> copies() const {
    std::vector<at::Tensor> values;
    for (const nn::Parameter* parameter : root_.parameters()) {
      values.push_back((*parameter)->detach().clone());
    }
    return values;
  }
  const Selection& selection() const { return *record.selection; }

  RoutingRecord record;  ///< of the last forward

 private:
  nn::Module root_;
  std::unique_ptr<nn::FeedForward> layer_;
};

at::Tensor tokens(const std::string& name, int64_t samples = kB) {
  return random_normal({samples, kL, kD}, name).to(at::kDouble);
}

// Whether the gate shows what the selection needs.
bool fit(const std::string& gate, const std::string& selection) {
  nn::Module root;
  const auto shown =
      config::make<Gate>(config::Component("gate", gate), {.parent = &root, .D = kD, .experts = 4})
          ->shows();
  const auto needed =
      config::make<Selection>(config::Component("selection", selection),
                              {.parent = &root, .experts = 4, .tokens = kL, .active = 2, .D = kD})
          ->needs_shown();
  return std::all_of(needed.begin(), needed.end(), [&](const std::string& need) {
    return std::find(shown.begin(), shown.end(), need) != shown.end();
  });
}

void for_every_kind(const std::function<void(const std::string&, const std::string&)>& check) {
  for (const auto* gate : config::components_of("gate")) {
    for (const auto* selection : config::components_of("selection")) {
      SCOPED_TRACE(gate->kind + " gate, " + selection->kind + " selection");
      if (fit(gate->kind, selection->kind)) check(gate->kind, selection->kind);
    }
  }
}

TEST(Conformance, PartsThatDoNotFitAreRefusedByName) {
  for (const auto* gate : config::components_of("gate")) {
    for (const auto* selection : config::components_of("selection")) {
      if (fit(gate->kind, selection->kind)) continue;
      EXPECT_THAT(testing::message_of([&] { Layer(gate->kind, selection->kind); }),
                  AllOf(HasSubstr("the selection '" + selection->kind + "' needs"),
                        HasSubstr("the gate '" + gate->kind + "' shows")));
    }
  }
  EXPECT_FALSE(fit("softmax", "positive"));
}

TEST(Conformance, MasksWeightsAndCountsFitTogether) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    const at::Tensor y = layer.forward(tokens("x"), /*training=*/true);
    const RoutingRecord& record = layer.record;
    ASSERT_EQ(y.sizes(), at::IntArrayRef({kB, kL, kD}));
    ASSERT_EQ(record.kept.mask_BLE().scalar_type(), at::kBool);
    ASSERT_EQ(record.kept.mask_BLE().sizes(), at::IntArrayRef({kB, kL, 4}));
    EXPECT_FALSE(record.kept.mask_BLE().requires_grad());
    const int64_t kept = record.kept.mask_BLE().sum().item<int64_t>();
    EXPECT_EQ(record.kept.count(), kept);
    EXPECT_TRUE(record.kept.loads().equal(record.kept.mask_BLE().sum({0, 1})));
    EXPECT_EQ(layer.selection().kept_pairs(kB).value_or(kept), kept);
    // What is kept was chosen.
    EXPECT_FALSE(record.kept.mask_BLE()
                     .logical_and(record.kept.chosen().mask_BLE().logical_not())
                     .any()
                     .item<bool>());
    // A token without an expert gets exactly 0.
    const at::Tensor starved = record.kept.mask_BLE().any(-1, /*keepdim=*/true).logical_not();
    EXPECT_TRUE(y.masked_select(starved).eq(0).all().item<bool>());
    EXPECT_TRUE(y.isfinite().all().item<bool>());
  });
}

// Whatever a selection makes them of, for scores that are random, tied, or not numbers.
TEST(Conformance, KeptPairsAreThoseOfTheMask) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    for (const std::string scores : {"random", "tied", "NaN"}) {
      SCOPED_TRACE(scores);
      Layer layer(gate, selection);
      at::Tensor x = tokens("x");
      if (scores == "tied") x.fill_(1);
      if (scores == "NaN") x[1][2].fill_(std::numeric_limits<double>::quiet_NaN());
      for (const bool training : {true, false}) {
        layer.step(x);
        if (!training) layer.forward(x, /*training=*/false);
        const Kept& kept = layer.record.kept;
        const Pairs again = Pairs::of_mask(kept.mask_BLE().clone());
        EXPECT_EQ(kept.count(), again.count());
        EXPECT_TRUE(kept.token_P().equal(again.token_P()));
        EXPECT_TRUE(kept.candidate_P().equal(again.candidate_P()));
        EXPECT_TRUE(kept.offsets().equal(again.offsets()));
        EXPECT_TRUE(kept.count_B().equal(kept.mask_BLE().sum({1, 2})));
        EXPECT_EQ(kept.starved(), kept.mask_BLE().any(-1).logical_not().sum().item<int64_t>());
        EXPECT_EQ(kept.weights_P.size(0), kept.count());
        EXPECT_EQ(kept.pools.experts, layer.selection().pools().experts);
      }
    }
  });
}

TEST(Conformance, AForwardChangesNothing) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    const std::vector<at::Tensor> before = layer.copies();
    layer.forward(tokens("x"), /*training=*/true);
    const std::vector<at::Tensor> after = layer.copies();
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_TRUE(before[i].eq(after[i]).logical_or(before[i].isnan()).all().item<bool>());
    }
    layer.step(tokens("x"));
    layer.forward(tokens("x"), /*training=*/false);
    EXPECT_TRUE(layer.record.pending.empty());
  });
}

TEST(Conformance, TheSameBitsWhateverTheThreads) {
  const testing::Threads restored(1);
  for_every_kind([](const std::string& gate, const std::string& selection) {
    std::vector<at::Tensor> results;
    for (const int threads : {1, 2, 3}) {
      testing::Threads::set(threads);
      Layer layer(gate, selection);
      const at::Tensor x = tokens("x").set_requires_grad(true);
      const at::Tensor y = layer.forward(x, /*training=*/true);
      y.sum().backward();
      results.insert(results.end(), {layer.record.kept.mask_BLE(), y, x.grad()});
    }
    for (size_t i = 3; i < results.size(); ++i) {
      EXPECT_TRUE(results[i].equal(results[i % 3])) << i;
    }
  });
}

// Central differences along random directions of the tokens and of the router at once; the kept
// pairs do not change on the way.
TEST(Conformance, GradientsAreThoseOfFiniteDifferences) {
  constexpr double h = 1e-6;
  for_every_kind([](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    const at::Tensor x = tokens("x").set_requires_grad(true), cotangent = tokens("cotangent");
    nn::Parameter& router = layer.parameter("moe.router.gate.weight");
    layer.forward(x, /*training=*/true).mul(cotangent).sum().backward();
    const at::Tensor mask = layer.record.kept.mask_BLE();
    const at::Tensor dx = x.grad(), dW = testing::gradient_of(router);

    const at::NoGradGuard no_grad;
    const at::Tensor W = router->clone();
    const auto value = [&](const at::Tensor& x_at, const at::Tensor& W_at) {
      router->copy_(W_at);
      const double sum = layer.forward(x_at, /*training=*/true).mul(cotangent).sum().item<double>();
      EXPECT_TRUE(layer.record.kept.mask_BLE().equal(mask));
      return sum;
    };
    for (const char* name : {"first", "second"}) {
      const at::Tensor along = tokens(name), turn = random_normal(W.sizes(), name).to(at::kDouble);
      EXPECT_NEAR(
          (value(x + h * along, W + h * turn) - value(x - h * along, W - h * turn)) / (2 * h),
          (dx.mul(along).sum() + dW.mul(turn).sum()).item<double>(), 1e-6);
    }
  });
}

TEST(Conformance, OtherSamplesDoNotMatterAtInferenceWherePromised) {
  int promised = 0;
  for_every_kind([&](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    const at::Tensor x = tokens("x");
    layer.step(x);
    const at::Tensor y = layer.forward(x, /*training=*/false);
    const at::Tensor mask = layer.record.kept.mask_BLE();
    if (!layer.selection().independent_at_inference()) return;
    ++promised;
    for (int64_t b = 0; b < kB; ++b) {
      const at::Tensor alone = layer.forward(x.narrow(0, b, 1), /*training=*/false);
      EXPECT_TRUE(layer.record.kept.mask_BLE().equal(mask.narrow(0, b, 1)));
      testing::expect_close(alone, y.narrow(0, b, 1), 1e-12, 1e-12, "alone");
    }
  });
  EXPECT_GT(promised, 0);
}

// All scores equal: every pool keeps its first entries by flat index.
TEST(Conformance, TiesGoByTheFlatIndex) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    const at::NoGradGuard no_grad;
    layer.parameter("moe.router.gate.weight")->zero_();
    layer.forward(at::ones({kB, kL, kD}, at::TensorOptions(at::kDouble)), /*training=*/true);
    if (!layer.selection().kept_pairs(kB)) return;  // no pool has a fixed number
    const Pools pools = layer.selection().pools();
    std::vector<int64_t> order;
    const bool pooled[] = {pools.samples, pools.tokens, pools.experts};
    int64_t pool = 1;
    for (const bool inside : {false, true}) {
      for (int64_t d = 0; d < 3; ++d) {
        if (pooled[d] != inside) continue;
        order.push_back(d);
        if (inside) pool *= layer.record.kept.mask_BLE().size(d);
      }
    }
    const at::Tensor rows =
        layer.record.kept.mask_BLE().permute(order).reshape({-1, pool}).to(at::kLong);
    EXPECT_TRUE(rows.diff(1, 1).le(0).all().item<bool>());
  });
}

TEST(Conformance, OneExpertAndAllExperts) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    for (const Sizes sizes : {Sizes{1, 1}, Sizes{4, 4}}) {
      Layer layer(gate, selection, sizes);
      const at::Tensor x = tokens("x").set_requires_grad(true);
      const at::Tensor y = layer.forward(x, /*training=*/true);
      const int64_t kept = layer.record.kept.count();
      EXPECT_LE(kept, kB * kL * sizes.experts);
      if (layer.selection().kept_pairs(kB)) {
        EXPECT_EQ(kept, *layer.selection().kept_pairs(kB));
        // A schedule starts with fewer.
        EXPECT_TRUE(selection == "growing" || kept == kB * kL * sizes.experts);
      }
      y.sum().backward();
      EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
    }
  });
}

// An expert that nobody wants, where tokens choose; and a batch without a sample.
TEST(Conformance, EmptyExpertsAndEmptyBatches) {
  bool seen = false;
  for_every_kind([&](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    {
      const at::NoGradGuard no_grad;
      layer.parameter("moe.router.gate.bias")->select(0, 2).fill_(-50);
    }
    const at::Tensor x = tokens("x").set_requires_grad(true);
    const at::Tensor y = layer.forward(x, /*training=*/true);
    seen = seen || layer.record.kept.loads()[2].item<int64_t>() == 0;
    y.sum().backward();
    EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
    const at::Tensor none = layer.forward(tokens("x", /*samples=*/0), /*training=*/true);
    EXPECT_EQ(none.sizes(), at::IntArrayRef({0, kL, kD}));
  });
  EXPECT_TRUE(seen);
}

TEST(Conformance, NotANumberIsOrderedLastOrRefusedByName) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    Layer layer(gate, selection);
    at::Tensor x = tokens("x");
    x[1][2].fill_(std::numeric_limits<double>::quiet_NaN());
    layer.forward(x, /*training=*/true);
    const at::Tensor mask = layer.record.kept.mask_BLE();
    layer.forward(x, /*training=*/true);
    EXPECT_TRUE(layer.record.kept.mask_BLE().equal(mask));
    std::vector<RoutingRecord> records;
    records.push_back(std::move(layer.record));
    EXPECT_THAT(testing::message_of([&] { require_finite_scores(records); }),
                HasSubstr("moe: 4 of the router's 48 scores are NaN or infinite"));
  });
}

TEST(Conformance, ImpossibleSizesAreRefused) {
  for_every_kind([](const std::string& gate, const std::string& selection) {
    EXPECT_THROW(Layer(gate, selection, {4, 5}), Error);
    EXPECT_THROW(Layer(gate, selection, {0, 1}), Error);
    EXPECT_THROW(Layer(gate, selection, {4, 0}), Error);
  });
}

}  // namespace
}  // namespace gallop::sparse
