#include "gallop/blocks/attention.h"

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/error.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::blocks {
namespace {

using testing::random_normal;

// softmax(q k^T / sqrt(d)) v for each head, heads side by side, from the fused qkv product.
TEST(Attention, IsTheDefinition) {
  constexpr int64_t D = 12, heads = 3, d = D / heads;
  nn::Module root;
  const auto attention =
      testing::make<Attention>("kind = \"full\"", {.parent = &root, .D = D, .heads = heads});
  const std::map<std::string, at::Tensor> weights = {
      {"attn.qkv.weight", random_normal({3 * D, D}, "qkv")},
      {"attn.qkv.bias", random_normal({3 * D}, "qkv bias")},
      {"attn.proj.weight", random_normal({D, D}, "proj")},
      {"attn.proj.bias", random_normal({D}, "proj bias")}};
  testing::load(root, weights);
  const at::Tensor x_BLD = random_normal({2, 5, D}, "x");

  std::vector<at::Tensor> samples;
  for (int64_t b = 0; b < 2; ++b) {
    const at::Tensor qkv =
        x_BLD[b].matmul(weights.at("attn.qkv.weight").t()).add(weights.at("attn.qkv.bias"));
    std::vector<at::Tensor> parts;
    for (int64_t n = 0; n < heads; ++n) {
      const at::Tensor q = qkv.narrow(1, n * d, d), k = qkv.narrow(1, D + n * d, d),
                       v = qkv.narrow(1, 2 * D + n * d, d);
      parts.push_back(q.matmul(k.t()).div(std::sqrt(static_cast<double>(d))).softmax(1).matmul(v));
    }
    samples.push_back(at::cat(parts, 1)
                          .matmul(weights.at("attn.proj.weight").t())
                          .add(weights.at("attn.proj.bias"))
                          .unsqueeze(0));
  }
  testing::expect_close(attention->forward(x_BLD, {}), at::cat(samples), 1e-4, 1e-4, "attention");
}

TEST(Attention, RefusesHeadsThatDoNotDivideTheWidth) {
  nn::Module root;
  EXPECT_THROW(testing::make<Attention>("kind = \"full\"", {.parent = &root, .D = 10, .heads = 3}),
               Error);
}

}  // namespace
}  // namespace gallop::blocks
