#include "gallop/ops/precision.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>

#include "gallop/blocks/attention.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/routing_record.h"
#include "tests/support/block_body.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;

constexpr int64_t B = 2, L = 9, D = 24;

// What a layer gives, and the scores that its first record holds.
struct Result {
  at::Tensor y, logits;
};
using Forward = std::function<at::Tensor(const at::Tensor& x, const nn::ForwardContext& ctx)>;

Result run(const Forward& forward, ops::Precision precision) {
  const ops::EmulatedBf16Guard emulated;
  const ops::PrecisionGuard guard(precision);
  std::vector<RoutingRecord> records;
  const at::Tensor y = forward(
      random_normal({B, L, D}, "x"),
      {.training = true, .time_embedding_BD = random_normal({B, D}, "time"), .routing = &records});
  EXPECT_EQ(ops::PrecisionGuard::active(), precision);
  return {y, records.empty() ? at::Tensor() : records[0].logits_BLE};
}

// Scores to the bit those of float32; what is done with the chosen is not.
void expect_exact_scores(const Forward& forward, const std::string& label) {
  const Result exact = run(forward, ops::Precision::float32);
  const Result rounded = run(forward, ops::Precision::bf16);
  ASSERT_TRUE(exact.logits.defined()) << label;
  EXPECT_TRUE(exact.logits.equal(rounded.logits)) << label;
  EXPECT_FALSE(exact.y.equal(rounded.y)) << label;
}

TEST(Bf16Scope, LeavesTheScoresOfRoutersExact) {
  for (const char* toml :
       {"kind = \"moe\"\nsetting = \"2-in-4\"", "kind = \"moe\"\nrouter = \"linear\"",
        "kind = \"moe\"\nrouter = \"noisy\"", "kind = \"moe\"\nrouter = \"cosine\"",
        "kind = \"moe\"\nrouter = \"timestep\"", "kind = \"moe\"\nexpert = \"glu\"",
        "kind = \"moe\"\nselection = \"diffmoe\""}) {
    nn::Module root;
    const auto layer =
        testing::make<nn::FeedForward>(toml, {.parent = &root, .D = D, .tokens = L, .layers = 1});
    root.materialize(/*seed=*/3);
    expect_exact_scores(
        [&](const auto& x, const auto& ctx) {
          const at::NoGradGuard no_grad;
          return layer->forward(x, ctx);
        },
        toml);
  }
}

TEST(Bf16Scope, LeavesTheGatesOfHeadsExact) {
  nn::Module root;
  const auto attention = testing::make<blocks::Attention>(
      "kind = \"moh\"\nshared = 1\nactive = 1", {.parent = &root, .D = D, .heads = 4, .layers = 1});
  root.materialize(/*seed=*/3);
  expect_exact_scores([&](const auto& x, const auto& ctx) { return attention->forward(x, ctx); },
                      "moh");
}

// With a body that has no product, a routing in bf16 is that in float32 to the bit.
TEST(Bf16Scope, LeavesTheChoiceOfTokensExact) {
  const auto body =
      testing::plain_body([](const at::Tensor& x, const at::Tensor&, const at::Tensor& scale) {
        return scale.defined() ? x.mul(scale.unsqueeze(-1)) : x.mul(2);
      });
  for (const char* toml : {"kind = \"mod\"\nevery = 1", "kind = \"p_mod\"\nshare = 0.5",
                           "kind = \"mor\"", "kind = \"mor\"\nchoice = \"token\""}) {
    nn::Module root;
    const auto routing = testing::make<blocks::BlockRouting>(
        toml, {.parent = &root, .D = D, .tokens = L, .index = 0, .blocks = 1});
    root.materialize(/*seed=*/3);
    for (nn::Parameter* parameter : root.parameters()) {
      parameter->set_value(random_normal(parameter->shape(), parameter->name()));
    }
    const Forward forward = [&](const auto& x, const auto& ctx) {
      return routing->forward(x, body, ctx);
    };
    EXPECT_TRUE(run(forward, ops::Precision::float32).y.equal(run(forward, ops::Precision::bf16).y))
        << toml;
  }
}

}  // namespace
}  // namespace gallop::sparse
