#include "gallop/sparse/choice/noise.h"

#include <gtest/gtest.h>

#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/routing_record.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;

// One training forward of a layer whose router draws noise and whose selection draws, too.
RoutingRecord record_of(const std::string& toml, const at::Tensor& x_BLD) {
  nn::Module root;
  const auto layer = testing::make<nn::FeedForward>(
      "kind = \"moe\"\nhidden = 4\nrouter = \"noisy\"\ngate = \"softmax\"\n" + toml,
      {.parent = &root, .D = x_BLD.size(2), .tokens = x_BLD.size(1), .layers = 1});
  root.materialize(/*seed=*/1);
  std::vector<RoutingRecord> records;
  layer->forward(x_BLD,
                 {.training = true, .noise = {.seed = 5, .purpose = "t"}, .routing = &records});
  return std::move(records.at(0));
}

// A pair of normal numbers a, b is made of two words, u = exp(-(a^2 + b^2) / 2) being the first: a
// uniform number of the same words would be u.
at::Tensor first_word(const at::Tensor& normal) {
  return normal.flatten().reshape({-1, 2}).square().sum(1).mul(-0.5).exp();
}

at::Tensor noise_of(const RoutingRecord& record) {
  return record.logits_BLE.sub(record.extra("clean_logits"))
      .div(record.extra("noise_scale"))
      .detach();
}

// The temperature is 1 at the first step: log p of two experts differ by their noisy logits.
TEST(Noise, AGumbelIsNotMadeOfTheRoutersNoise) {
  const RoutingRecord record = record_of(
      "experts = 4\nactive = 1\nselection = { kind = \"dense_to_sparse\", from = 1, weights = "
      "\"gumbel\" }",
      random_normal({4, 32, 6}, "x"));
  const at::Tensor u_N2 = first_word(noise_of(record)).reshape({-1, 2});  // of experts 0 and 2
  const at::Tensor gumbel_N2 = u_N2.log().neg().log().neg();
  const auto difference = [](const at::Tensor& x_TE, int64_t a, int64_t b) {
    return x_TE.select(1, a).sub(x_TE.select(1, b));
  };
  const at::Tensor drawn_N = difference(record.gate_BLE.detach().log().flatten(0, 1), 0, 2)
                                 .sub(difference(record.logits_BLE.detach().flatten(0, 1), 0, 2));
  const at::Tensor same_N = drawn_N.sub(difference(gumbel_N2, 0, 1)).abs().lt(0.05);
  EXPECT_LT(same_N.to(at::kDouble).mean().item<double>(), 0.1);
}

// One expert with places for half of the tokens, who are placed by the numbers drawn for them.
TEST(Noise, TheOrderOfTokensIsNotMadeOfTheRoutersNoise) {
  const RoutingRecord record = record_of(
      "experts = 1\nactive = 1\nselection = { kind = \"capacity\", order = \"random\", factor = "
      "0.5 }",
      random_normal({4, 64, 6}, "x"));
  // The words of tokens 0, 2, 4, ...
  const at::Tensor u_N = first_word(noise_of(record));
  const at::Tensor kept_N = record.kept.mask_BLE().flatten().reshape({-1, 2}).select(1, 0);
  const double of_kept = u_N.masked_select(kept_N).mean().item<double>(),
               of_others = u_N.masked_select(kept_N.logical_not()).mean().item<double>();
  EXPECT_NEAR(of_kept, of_others, 0.2);  // 0.75 and 0.25 for the same words
}

TEST(Noise, AStreamIsItsOwn) {
  const at::Tensor like = random_normal({2, 3}, "like");
  const nn::ForwardContext ctx{.noise = {.seed = 1, .purpose = "t"}};
  EXPECT_TRUE(uniform_noise(ctx, "a", like).equal(uniform_noise(ctx, "a", like)));
  EXPECT_FALSE(uniform_noise(ctx, "a", like).eq(uniform_noise(ctx, "b", like)).any().item<bool>());
}

}  // namespace
}  // namespace gallop::sparse
