#include "gallop/sparse/choice/chooser.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/layers/moe.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "gallop/sparse/statistics.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/peak_memory.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::random_normal;

constexpr uint64_t kMiB = 1 << 20;

// A sparse layer on its own.
class Layer {
 public:
  Layer(const std::string& settings, int64_t D, int64_t tokens, at::ScalarType type = at::kFloat)
      : layer_(testing::make<nn::FeedForward>(
            "kind = \"moe\"\n" + settings,
            {.parent = &root_, .D = D, .tokens = tokens, .layers = 1})) {
    root_.materialize(/*seed=*/3, {.dtype = type});
  }
  at::Tensor forward(const at::Tensor& x_BLD, bool training = true) {
    records.clear();
    return layer_->forward(x_BLD, {.training = training, .routing = &records});
  }
  const at::Tensor& value(const std::string& name) { return **root_.find_parameter(name); }

  std::vector<RoutingRecord> records;

 private:
  nn::Module root_;
  std::unique_ptr<nn::FeedForward> layer_;
};

// 64 tokens keep 8 each of 20 million: masks of them would take 1.3 GB, and scores 5.
TEST(Chooser, ChoosesAmongTwentyMillionInMemoryOfWhatItKeeps) {
  constexpr int64_t kSide = 4473, kD = 16, kHalf = 8, kK = 8;
  nn::Module root;
  ChooserSettings settings;
  settings.router = testing::component("router", "kind = \"product_keys\"\nwidth = 16");
  settings.selection = config::Component("selection", "token");
  settings.weighting = config::Component("weighting", "softmax");
  const std::vector<std::unique_ptr<SparseLoss>> losses;
  const Chooser chooser(settings, {.parent = &root,
                                   .choice = Choice::slot,
                                   .D = kD,
                                   .tokens = 32,
                                   .candidates = kSide * kSide,
                                   .active = kK,
                                   .losses = &losses});
  root.materialize(/*seed=*/1);
  const at::Tensor x = random_normal({2, 32, kD}, "x");
  const at::NoGradGuard no_grad;
  const bool measured = test::reset_peak_memory();
  const uint64_t before = peak_resident_memory();
  std::vector<RoutingRecord> records;
  const Kept kept = chooser.choose(x, {.training = true, .routing = &records});
  const uint64_t after = peak_resident_memory();
  if (measured) {
    EXPECT_LT(after - before, 32 * kMiB);
  }

  ASSERT_EQ(kept.count(), 64 * kK);
  EXPECT_EQ(kept.candidates(), kSide * kSide);
  EXPECT_EQ(kept.starved(), 0);
  EXPECT_NEAR(kept.weights_P.sum().item<double>(), 64, 1e-3);
  EXPECT_EQ(records.at(0).choice, Choice::slot);
  EXPECT_EQ(records.at(0).logits_BLE.sizes(), at::IntArrayRef({2, 32, kK}));
  // The same as the best of all scores of a token, one token at a time.
  const at::Tensor query = ops::linear(x, **root.find_parameter("router.query.weight"), {});
  for (const int64_t token : {0, 63}) {
    const at::Tensor q = query.flatten(0, 1).narrow(0, token, 1);
    const auto half = [&](const char* name, int64_t begin) {
      return ops::linear(q.narrow(1, begin, kHalf), (**root.find_parameter(name))[0], {});
    };
    const at::Tensor all = half("router.rows.weight", 0)
                               .unsqueeze(2)
                               .add(half("router.columns.weight", kHalf).unsqueeze(1))
                               .flatten(1);
    const at::Tensor expected = std::get<0>(ops::topk(all, kK)[0].sort());
    const at::Tensor mine = kept.token_P().eq(token);
    EXPECT_TRUE(kept.candidate_P().masked_select(mine).equal(expected)) << token;
  }
}

// A million experts of one neuron, trained: masks of 512 tokens would take half a gigabyte.
TEST(Chooser, CarriesPeerWithAMillionExperts) {
  constexpr int64_t kD = 8;
  Layer layer(
      "experts = 1048576\nactive = 16\nhidden = 1\nexpert = \"neuron\"\nselection = \"token\"\n"
      "weights = \"softmax\"\nrouter = { kind = \"product_keys\", heads = 4, width = 8 }",
      kD, /*tokens=*/256);
  const at::Tensor x = random_normal({2, 256, kD}, "x").set_requires_grad(true);
  const bool measured = test::reset_peak_memory();
  const uint64_t before = peak_resident_memory();
  const at::Tensor y = layer.forward(x);
  const RoutingStatistics statistics = statistics_of(layer.records);
  y.square().sum().backward();
  const uint64_t after = peak_resident_memory();
  // Among it the gradients of 16 million numbers.
  if (measured) {
    EXPECT_LT(after - before, 256 * kMiB);
  }
  EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
  EXPECT_EQ(layer.records[0].kept.count(), 512 * 16);
  EXPECT_EQ(statistics.experts_per_token, 16);
  EXPECT_EQ(statistics.starved, 0);
}

// The definition of PEER, over all neurons: y = sum_h sum_k g v act(u x).
TEST(Chooser, IsPeerByItsDefinition) {
  constexpr int64_t kD = 6, kE = 35, kH = 2, kK = 4, kHalf = 3;
  Layer layer(
      "experts = 35\nactive = 8\nhidden = 1\nexpert = \"neuron\"\nselection = \"token\"\n"
      "weights = \"softmax\"\nrouter = { kind = \"product_keys\", heads = 2, width = 6 }",
      kD, /*tokens=*/5, at::kDouble);
  const at::Tensor x = random_normal({3, 5, kD}, "x").to(at::kDouble);
  const at::Tensor y = layer.forward(x).flatten(0, 1);

  const at::Tensor x_TD = x.flatten(0, 1);
  const at::Tensor q =
      x_TD.matmul(layer.value("moe.router.query.weight").t()).reshape({15, kH, 2, kHalf});
  const at::Tensor out_TE = ops::gelu_tanh(x_TD.matmul(layer.value("moe.experts.in.weight").t()));
  at::Tensor expected = at::zeros_like(x_TD);
  int64_t twice = 0;
  at::Tensor before_TE;
  for (int64_t h = 0; h < kH; ++h) {
    const at::Tensor a =
        q.select(1, h).select(1, 0).matmul(layer.value("moe.router.rows.weight")[h].t());
    const at::Tensor b =
        q.select(1, h).select(1, 1).matmul(layer.value("moe.router.columns.weight")[h].t());
    const at::Tensor score_TE = a.unsqueeze(2).add(b.unsqueeze(1)).flatten(1);
    ASSERT_EQ(score_TE.size(1), kE);
    const at::Tensor mask_TE = ops::topk_mask(score_TE, kK).mask_RN;
    const at::Tensor g_TE =
        score_TE.masked_fill(mask_TE.logical_not(), -std::numeric_limits<double>::infinity())
            .softmax(1);
    expected = expected + g_TE.mul(out_TE).matmul(layer.value("moe.experts.out.weight"));
    if (h > 0) twice = mask_TE.logical_and(before_TE).sum().item<int64_t>();
    before_TE = mask_TE;
  }
  EXPECT_GT(twice, 0) << "no neuron that both heads found";
  testing::expect_close(y, expected, 1e-10, 1e-12, "PEER");
}

// Of many columns only the kept scores make weights: the same up to the order of the sums.
TEST(Chooser, WeighsFewOfManyAsAmongFew) {
  constexpr int64_t kE = 5000;
  for (const std::string weights : {"gate", "softmax", "sum", "one"}) {
    SCOPED_TRACE(weights);
    Layer layer(
        "experts = 5000\nactive = 3\nhidden = 1\nexpert = \"neuron\"\ngate = "
        "\"sigmoid\"\nselection = \"token\"\nrouter = \"linear\"\nweights = \"" +
            weights + "\"",
        4, /*tokens=*/3, at::kDouble);
    layer.forward(random_normal({2, 3, 4}, "x").to(at::kDouble));
    const RoutingRecord& record = layer.records.at(0);
    const Scores scores{
        .logits_BLE = record.logits_BLE, .gate_BLE = record.gate_BLE, .key_BLE = record.logits_BLE};
    const Pairs expected_pairs = Pairs::of_mask(
        ops::topk_mask(record.logits_BLE.flatten(0, 1), 3).mask_RN.reshape({2, 3, kE}));
    const Kept expected =
        keep(expected_pairs, testing::make<Weighting>("kind = \"" + weights + "\"", {})
                                 ->weights(scores, {.pairs = expected_pairs}));
    EXPECT_TRUE(record.kept.token_P().equal(expected.token_P()));
    EXPECT_TRUE(record.kept.candidate_P().equal(expected.candidate_P()));
    testing::expect_close(record.kept.weights_P, expected.weights_P, 1e-12, 1e-12, weights);
  }
}

// A list is as good as all scores where the selection looks at one token, and competes in a race.
TEST(Chooser, SelectsAmongListsByEveryKindThatTakesThem) {
  for (const std::string selection : {"token", "race", "le", "be", "top_p", "dense_to_sparse"}) {
    SCOPED_TRACE(selection);
    Layer layer("experts = 64\nactive = 2\nhidden = 3\nselection = \"" + selection +
                    "\"\nrouter = { kind = \"product_keys\", width = 8, places = 5 }",
                4, /*tokens=*/6);
    const at::Tensor y = layer.forward(random_normal({2, 6, 4}, "x"));
    EXPECT_TRUE(y.isfinite().all().item<bool>());
    const RoutingRecord& record = layer.records.at(0);
    EXPECT_EQ(record.logits_BLE.size(-1), 5);
    EXPECT_EQ(record.kept.candidates(), 64);
    EXPECT_GT(record.kept.count(), 0);
    if (selection == "token" || selection == "race") {
      EXPECT_EQ(record.kept.count(), 24);
    }
  }
}

TEST(Chooser, RefusesWhatNeedsTheScoresOfAllBesideLists) {
  const std::string lists = "experts = 64\nhidden = 3\nrouter = \"product_keys\"\n";
  const auto message = [&](const std::string& more) {
    return testing::message_of([&] { Layer(lists + more, 4, 6); });
  };
  EXPECT_THAT(message("selection = \"expert\""),
              HasSubstr("the selection 'expert' needs the scores of all candidates"));
  EXPECT_THAT(message("gate = \"smoothed\""), HasSubstr("the gate 'smoothed' compares tokens"));
  EXPECT_THAT(message("losses = { balance = { weight = 1 } }"),
              HasSubstr("losses read the scores of all candidates"));
  EXPECT_THAT(testing::message_of([] {
                Layer(
                    "experts = 64\nactive = 3\nhidden = 3\nselection = \"token\"\n"
                    "router = { kind = \"product_keys\", places = 2 }",
                    4, 6);
              }),
              HasSubstr("which list only 2"));
}

}  // namespace
}  // namespace gallop::sparse
