#include "gallop/sparse/layers/experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/router.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::random_normal;
using testing::tensor_of;

constexpr int64_t kD = 4, kE = 3, kH = 5, kT = 6;

// Experts on their own, all values random, with names as in a layer.
class Bank {
 public:
  explicit Bank(const std::string& toml, int64_t E = kE, int64_t hidden = kH, int64_t D = kD)
      : experts_(testing::make<Experts>(
            toml, {.parent = &root_, .D = D, .experts = E, .hidden = hidden, .active = 2})) {
    root_.materialize(/*seed=*/0);
    for (nn::Parameter* parameter : root_.parameters()) {
      parameter->set_value(
          random_normal(parameter->shape(), parameter->name()).set_requires_grad(true));
    }
  }
  at::Tensor forward(const at::Tensor& x_TD, const at::Tensor& weight_TE,
                     const nn::ForwardContext& ctx = {.training = true}) const {
    const at::Tensor mask = weight_TE.ne(0).unsqueeze(0);
    return experts_->forward(x_TD, keep(Pairs::of_mask(mask), weight_TE.unsqueeze(0)), ctx);
  }
  const at::Tensor& operator[](const std::string& name) { return **root_.find_parameter(name); }
  nn::Module& root() { return root_; }
  const Experts& experts() const { return *experts_; }

 private:
  nn::Module root_;
  std::unique_ptr<Experts> experts_;
};

// Weights [T, E] with zeros where no pair is kept; expert 1 gets nobody, token 4 nothing.
at::Tensor sparse_weights(int64_t E = kE) {
  at::Tensor weight = random_normal({kT, E}, "weights");
  weight = weight.mul(weight.gt(-0.5));
  weight.select(1, 1).zero_();
  weight.select(0, 4).zero_();
  return weight;
}

at::Tensor gelu(const at::Tensor& x) {
  return x.mul(0.5).mul((x + 0.044715 * x.pow(3)).mul(0.7978845608028654).tanh().add(1));
}

TEST(Experts, MlpIsItsFormulaForEachActivation) {
  const at::Tensor x = random_normal({kT, kD}, "x"), weight = sparse_weights();
  for (const std::string activation : {"gelu", "relu", "silu"}) {
    for (const bool bias : {true, false}) {
      Bank bank("kind = \"mlp\"\nactivation = \"" + activation +
                "\"\nbias = " + (bias ? "true" : "false"));
      at::Tensor y = at::zeros({kT, kD});
      for (int64_t e = 0; e < kE; ++e) {
        at::Tensor hidden = x.matmul(bank["experts.fc1.weight"][e].t());
        if (bias) hidden = hidden + bank["experts.fc1.bias"][e];
        hidden = activation == "gelu"   ? gelu(hidden)
                 : activation == "relu" ? hidden.clamp_min(0)
                                        : hidden * hidden.sigmoid();
        at::Tensor out = hidden.matmul(bank["experts.fc2.weight"][e].t());
        if (bias) out = out + bank["experts.fc2.bias"][e];
        y = y + weight.select(1, e).unsqueeze(1) * out;
      }
      testing::expect_close(bank.forward(x, weight), y, 1e-4, 1e-5, activation);
      EXPECT_EQ(bank.root().parameters().size(), bias ? 4u : 2u);
    }
  }
}

TEST(Experts, GluIsItsFormula) {
  const at::Tensor x = random_normal({kT, kD}, "x"), weight = sparse_weights();
  Bank bank("kind = \"glu\"\nbias = true");
  const auto layer = [&](const char* name, const at::Tensor& in, int64_t e) {
    const std::string full = std::string("experts.") + name;
    return in.matmul(bank[full + ".weight"][e].t()) + bank[full + ".bias"][e];
  };
  at::Tensor y = at::zeros({kT, kD});
  for (int64_t e = 0; e < kE; ++e) {
    const at::Tensor gate = layer("gate", x, e);
    const at::Tensor out = layer("down", gate * gate.sigmoid() * layer("up", x, e), e);
    y = y + weight.select(1, e).unsqueeze(1) * out;
  }
  testing::expect_close(bank.forward(x, weight), y, 1e-4, 1e-5, "glu");
  EXPECT_EQ(Bank("kind = \"glu\"").root().parameters().size(), 3u);
}

TEST(Experts, NeuronsAreTheirFormula) {
  const at::Tensor x = random_normal({kT, kD}, "x"), weight = sparse_weights();
  Bank bank("kind = \"neuron\"\nactivation = \"relu\"");
  const at::Tensor expected = (x.matmul(bank["experts.in.weight"].t()).clamp_min(0) * weight)
                                  .matmul(bank["experts.out.weight"]);
  testing::expect_close(bank.forward(x, weight), expected, 1e-4, 1e-5, "neurons");
}

TEST(Experts, UnequalWidthsAreEqualOnesWithUnitsLeftOut) {
  const at::Tensor x = random_normal({kT, kD}, "x"), weight = sparse_weights();
  Bank bank("kind = \"unequal\"\nwidths = [2, 1, 3]");
  EXPECT_EQ(bank["experts.fc1.weight"].size(0), 6);
  at::Tensor y = at::zeros({kT, kD});
  const int64_t first[] = {0, 2, 3}, width[] = {2, 1, 3};
  for (int64_t e = 0; e < kE; ++e) {
    const auto part = [&](const char* name) {
      return bank[std::string("experts.") + name].narrow(0, first[e], width[e]);
    };
    const at::Tensor hidden = gelu(x.matmul(part("fc1.weight").t()) + part("fc1.bias"));
    y = y + weight.select(1, e).unsqueeze(1) *
                (hidden.matmul(part("fc2.weight")) + bank["experts.fc2.bias"][e]);
  }
  testing::expect_close(bank.forward(x, weight), y, 1e-4, 1e-5, "unequal");
  EXPECT_THAT(testing::message_of([] { Bank("kind = \"unequal\"\nwidths = [2, 1]"); }),
              HasSubstr("expert.widths names 2 experts, and there are 3"));
}

TEST(Experts, SharedOnesServeAllTokens) {
  const at::Tensor x = random_normal({kT, kD}, "x"), weight = sparse_weights();
  Bank bank("kind = \"shared\"\ncount = 2\nhidden = 3\nshared = \"glu\"");
  EXPECT_EQ(bank["shared.gate.weight"].sizes(), at::IntArrayRef({2, 3, kD}));
  EXPECT_EQ(bank["experts.fc1.weight"].sizes(), at::IntArrayRef({kE, kH, kD}));
  Bank routed("kind = \"mlp\"");
  at::Tensor y = routed.forward(x, weight);  // the same names, so the same values
  for (int64_t e = 0; e < 2; ++e) {
    const at::Tensor gate = x.matmul(bank["shared.gate.weight"][e].t());
    const at::Tensor up = x.matmul(bank["shared.up.weight"][e].t());
    y = y + (gate * gate.sigmoid() * up).matmul(bank["shared.down.weight"][e].t());
  }
  testing::expect_close(bank.forward(x, weight), y, 1e-4, 1e-5, "shared");
}

TEST(Experts, NullAndIdentityOnesCostNothing) {
  const at::Tensor x = random_normal({kT, kD}, "x"), weight = sparse_weights(kE + 2);
  Bank bank("kind = \"with_null\"\nzeros = 1\nidentities = 1", kE + 2);
  EXPECT_EQ(bank["experts.fc1.weight"].size(0), kE);
  Bank real("kind = \"mlp\"");
  const at::Tensor expected =
      real.forward(x, weight.narrow(1, 0, kE)) + weight.select(1, kE + 1).unsqueeze(1) * x;
  testing::expect_close(bank.forward(x, weight), expected, 1e-4, 1e-5, "with null");
  EXPECT_THAT(testing::message_of([] { Bank("kind = \"with_null\"\nzeros = 3"); }),
              HasSubstr("leave no real one"));
}

TEST(Experts, TheUnconditionalOneServesSamplesWithoutALabel) {
  const at::Tensor x = random_normal({kT, kD}, "x");
  const at::Tensor weight = sparse_weights();
  weight.narrow(0, 2, 2).zero_();  // the second of three samples chooses nobody
  Bank bank("kind = \"unconditional\"");
  const nn::ForwardContext ctx{.training = true,
                               .unconditional_B = tensor_of({0, 1, 0}).to(at::kBool)};
  const at::Tensor y = bank.forward(x, weight, ctx);
  testing::expect_close(y,
                        bank.forward(x, weight) * tensor_of({1, 1, 0, 0, 1, 1}).unsqueeze(1) +
                            y * tensor_of({0, 0, 1, 1, 0, 0}).unsqueeze(1),
                        1e-5, 1e-6, "routed tokens");
  const at::Tensor hidden = gelu(x.narrow(0, 2, 2).matmul(bank["unconditional.fc1.weight"][0].t()) +
                                 bank["unconditional.fc1.bias"][0]);
  testing::expect_close(
      y.narrow(0, 2, 2),
      hidden.matmul(bank["unconditional.fc2.weight"][0].t()) + bank["unconditional.fc2.bias"][0],
      1e-4, 1e-5, "the null expert");
}

// Every registered kind: tokens without a pair get exact zeros from routed experts, experts without
// a token do not fail, no pairs at all are fine, and so are no tokens.
TEST(Experts, EveryKindTakesEmptyExpertsAndTokens) {
  for (const auto* info : config::components_of("experts")) {
    const std::string toml =
        "kind = \"" + info->kind + "\"" + (info->kind == "unequal" ? "\nwidths = [2, 1, 3]" : "");
    Bank bank(toml);
    const at::Tensor x = random_normal({kT, kD}, "x").set_requires_grad(true);
    const at::Tensor y = bank.forward(x, sparse_weights());
    EXPECT_EQ(y.sizes(), x.sizes()) << info->kind;
    const bool routed = info->kind != "shared";  // those serve all tokens
    EXPECT_EQ(y[4].eq(0).all().item<bool>(), routed) << info->kind;
    y.sum().backward();
    EXPECT_TRUE(x.grad().isfinite().all().item<bool>()) << info->kind;
    const at::Tensor none = bank.forward(x, at::zeros({kT, kE}));
    EXPECT_EQ(none.eq(0).all().item<bool>(), routed) << info->kind;
    EXPECT_EQ(bank.forward(at::zeros({0, kD}), at::zeros({0, kE})).size(0), 0) << info->kind;
  }
}

// A dense layer whose hidden units are regrouped into experts that choose by their own keys.
REFERENCE_TEST(AvgKCases, MatchTheReference, "routing/kind_avg_k_gate") {
  const Json& config = fixture.config();
  const int64_t D = config.at("D").as_int(), E = config.at("E").as_int();
  const at::Tensor w1 = fixture.in("w1"), w2 = fixture.in("w2"), b1 = fixture.in("b1");
  std::vector<at::Tensor> units, fc1, bias1, fc2;
  for (int64_t e = 0; e < E; ++e) {
    units.push_back(fixture.in("cluster").eq(e).nonzero().squeeze(1));
    fc1.push_back(w1.index_select(0, units[e]).unsqueeze(0));
    bias1.push_back(b1.index_select(0, units[e]).unsqueeze(0));
    fc2.push_back(w2.index_select(1, units[e]).unsqueeze(0));
  }
  for (const bool all : {false, true}) {
    const int64_t k = all ? E : config.at("k").as_int();
    Bank bank("kind = \"mlp\"\nactivation = \"" + config.at("activation").as_string() + "\"", E,
              config.at("F").as_int() / E, D);
    // Each of a token's k experts brings its share of the one output bias.
    testing::load(bank.root(), {{"experts.fc1.weight", at::cat(fc1)},
                                {"experts.fc1.bias", at::cat(bias1)},
                                {"experts.fc2.weight", at::cat(fc2)},
                                {"experts.fc2.bias", fixture.in("b2").div(k).expand({E, D})}});
    nn::Module root;
    const auto router =
        testing::make<Router>("kind = \"avg_k\"", {.parent = &root, .D = D, .experts = E});
    router->bind(bank.experts());
    const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
    const at::Tensor logits = router->forward(x.unsqueeze(0), {.training = true}).logits_BLE;
    EXPECT_FALSE(logits.requires_grad());
    const Scores scores = testing::scores_of("identity", logits);
    const Selected selected =
        testing::Selector("kind = \"token\"", logits.sizes(), static_cast<double>(k))
            .select(scores);
    const at::Tensor y =
        bank.forward(x, testing::weights_of("kind = \"one\"", scores, selected)[0]);
    if (all) {
      fixture.expect_close(y, "out.y_all_experts");
      continue;
    }
    fixture.expect_close(logits[0], "out.gate");
    fixture.expect_close(selected.mask_BLE()[0], "out.mask");
    fixture.expect_close(y, "out.y");
    y.mul(fixture.in("cotangent")).sum().backward();
    fixture.expect_close(x.grad(), "grad.x");
    for (int64_t e = 0; e < E; ++e) {
      fixture.expect_close(bank["experts.fc1.weight"].grad()[e],
                           fixture.grad("w1").index_select(0, units[e]), "grad.w1");
      fixture.expect_close(bank["experts.fc2.weight"].grad()[e],
                           fixture.grad("w2").index_select(1, units[e]), "grad.w2");
    }
  }
  fixture.expect_all_checked();
}

}  // namespace
}  // namespace gallop::sparse
