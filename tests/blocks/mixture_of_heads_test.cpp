#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "gallop/blocks/attention.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::blocks {
namespace {

using ::testing::HasSubstr;

std::map<std::string, at::Tensor> under_attn(const std::map<std::string, at::Tensor>& tensors) {
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, tensor] : tensors) named["attn." + name] = tensor;
  return named;
}

REFERENCE_TEST(MixtureOfHeadsCases, LayerMatchesTheReference, "moe/moh") {
  const Json& config = fixture.config();
  const int64_t k = config.at("routed_head").as_int();
  // Its code counts the choices of a token, k, where the loss `balance` counts shares of them.
  std::ostringstream toml;
  toml.precision(17);
  toml << "kind = \"moh\"\nshared = " << config.at("shared_head").as_int() << "\nactive = " << k
       << "\nlosses = { balance = { weight = "
       << fixture.number_in("loss", "([0-9][0-9.eE+-]*) \\* out\\.balance_loss") *
              static_cast<double>(k)
       << " } }\n";
  nn::Module root;
  const auto attention = testing::make<Attention>(
      toml.str(),
      {.parent = &root, .D = config.at("D").as_int(), .heads = config.at("heads").as_int()});
  testing::load(root, under_attn(fixture.with_prefix("weight.")));

  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  std::vector<sparse::RoutingRecord> routing;
  nn::Taps taps;
  const at::Tensor y =
      attention->forward(x, {.training = true, .routing = &routing, .taps = &taps});
  fixture.expect_close(y, "out.y");
  fixture.expect_close(taps.tensors.at(0).second, "out.gates");
  at::Tensor loss = y.mul(fixture.in("cotangent")).sum(), balance = at::zeros({});
  ASSERT_EQ(routing.size(), k > 0 ? 1u : 0u);
  for (const auto& total : sparse::total_losses(routing, {})) {
    balance = total.value.mul(k);
    loss = loss.add(total.value, total.weight);
  }
  fixture.expect_close(balance, "out.balance_loss");
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  for (const nn::Parameter* parameter : root.parameters()) {
    fixture.expect_close(testing::gradient_of(*parameter),
                         "grad." + parameter->name().substr(std::string("attn.").size()));
  }
  fixture.expect_all_checked();
}

std::unique_ptr<Attention> make(nn::Module& root, const std::string& toml) {
  return testing::make<Attention>("kind = \"" + toml, {.parent = &root, .D = 12, .heads = 6});
}

// All heads used, gates of zero: plain attention. One shared head has no matrix of its own.
TEST(MixtureOfHeads, WithZeroGatesAndAllHeadsItIsAttention) {
  nn::Module root, plain_root;
  const auto moh = make(root, "moh\"\nshared = 1\nactive = 5");
  const auto plain = make(plain_root, "full\"");
  root.materialize(/*seed=*/3);
  plain_root.materialize(/*seed=*/3);  // the same values, which names decide
  EXPECT_EQ(root.find_parameter("attn.wg_1.weight"), nullptr);
  for (const char* gate : {"attn.wg.weight", "attn.wg_0.weight"}) {
    root.find_parameter(gate)->set_value(at::zeros(root.find_parameter(gate)->shape()));
  }
  const at::Tensor x = testing::random_normal({2, 5, 12}, "x");
  testing::expect_close(moh->forward(x, {}), plain->forward(x, {}), 1e-6, 1e-6, "output");
}

TEST(MixtureOfHeads, RefusesImpossibleNumbersOfHeads) {
  const auto error = [](const std::string& toml) {
    return testing::message_of([&] {
      nn::Module root;
      make(root, "moh\"\n" + toml);
    });
  };
  EXPECT_EQ(error("shared = 2\nactive = 4"), "no error");
  EXPECT_THAT(error("shared = 3\nactive = 4"), HasSubstr("more than the 6 there are"));
  EXPECT_THAT(error("shared = 4\nactive = 0"), HasSubstr("no token would use 2 of the heads"));
}

}  // namespace
}  // namespace gallop::blocks
