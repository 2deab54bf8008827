#include "gallop/blocks/depth/block_routing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "gallop/blocks/depth/p_mod.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "tests/support/block_body.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::blocks {
namespace {

using sparse::RoutingRecord;
using ::testing::HasSubstr;
using testing::plain_body;
using testing::random_normal;
using testing::tensor_of;

// A routing on its own, as one of the blocks of a model; its parameters are named "routing.*".
class Block {
 public:
  Block(const std::string& toml, int64_t D, int64_t tokens, int64_t index = 0, int64_t blocks = 1)
      : routing_(testing::make<BlockRouting>(
            toml, {.parent = &root_, .D = D, .tokens = tokens, .index = index, .blocks = blocks})) {
    root_.materialize(/*seed=*/0);
  }
  void load(const std::map<std::string, at::Tensor>& values) { testing::load(root_, values); }
  at::Tensor gradient(const std::string& name) {
    return testing::gradient_of(*root_.find_parameter(name));
  }
  nn::Module& root() { return root_; }
  const BlockRouting& operator*() const { return *routing_; }
  const BlockRouting* operator->() const { return routing_.get(); }

 private:
  nn::Module root_;
  std::unique_ptr<BlockRouting> routing_;
};

// x + tanh(x A), token by token: the fixtures' stand-in.
BlockBody stand_in(const at::Tensor& A) {
  return plain_body([A](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    return x.add(x.matmul(A).tanh());
  });
}

REFERENCE_TEST(PModCases, MatchTheReference, "routing/kind_mod_pmod") {
  const Json& config = fixture.config();
  const int64_t L = config.at("L").as_int();
  PModSettings settings;
  settings.dense_above = fixture.number_in("schedule", "1 where it exceeds ([0-9][0-9.eE+-]*)");
  settings.least = fixture.number_in("schedule", "max\\(\\., ([0-9][0-9.eE+-]*)\\)");
  // A share that is given is kept as it is, however large or small.
  std::ostringstream toml;
  toml.precision(17);
  toml << "kind = \"p_mod\"\ndense_above = 1\nleast = 0\nshare = " << config.at("ratio").dump()
       << "\nswing = " << fixture.number_in("weight", "^1 \\+ ([0-9][0-9.eE+-]*)\\*tanh");
  Block block(toml.str(), config.at("D").as_int(), L);
  block.load({{"routing.weight", fixture.in("w").unsqueeze(0)}, {"routing.bias", fixture.in("b")}});
  const at::Tensor h = fixture.in("h").clone().set_requires_grad(true);
  at::Tensor kept, weight;
  const BlockBody body =
      plain_body([&](const at::Tensor& x, const at::Tensor& positions, const at::Tensor& scale) {
        kept = positions;
        weight = scale;
        return x.add(at_positions(fixture.in("attn"), positions))
            .add(at_positions(fixture.in("mlp"), positions).mul(scale.unsqueeze(-1)));
      });
  const int64_t B = h.size(0);
  const at::Tensor text_BL = fixture.in("is_text").expand({B, L});
  const at::Tensor out = block->forward(h, body, {.training = true, .modality_BL = text_BL});
  fixture.expect_close(out, "out.h");
  // The body also gets the text, which is always kept and counts apart in the fixture.
  const at::Tensor vision = text_BL.gather(1, kept).eq(0);
  const at::Tensor vision_BK = kept.masked_select(vision).reshape({B, -1});
  EXPECT_EQ(vision_BK.size(1), config.at("kept").as_int());
  fixture.expect_close(vision_BK, "out.kept_positions");
  fixture.expect_close(at::zeros({B, L}, at::TensorOptions(at::kBool)).scatter(1, vision_BK, 1),
                       "out.kept");
  EXPECT_TRUE(weight.masked_select(vision.logical_not()).eq(1).all().item<bool>());
  fixture.expect_close(weight.masked_select(vision).reshape({B, -1}),
                       fixture.out("weight").gather(1, vision_BK), "out.weight");
  // A token that is skipped is itself times its weight.
  const at::Tensor skipped_BL1 = fixture.out("kept").add(text_BL).eq(0).unsqueeze(-1);
  fixture.expect_close(
      out.masked_select(skipped_BL1),
      fixture.in("h").mul(fixture.out("weight").unsqueeze(-1)).masked_select(skipped_BL1),
      "out.weight");
  out.mul(fixture.in("cotangent")).sum().backward();
  fixture.expect_close(h.grad(), "grad.h");
  fixture.expect_close(block.gradient("routing.weight")[0], "grad.w");
  fixture.expect_close(block.gradient("routing.bias"), "grad.b");

  for (const std::string& number : fixture.names_with_prefix("out.ratio_")) {
    const std::string name = "out.ratio_" + number;
    const int64_t blocks = std::stoll(number);
    const at::Tensor ratio = fixture.tensor(name).clone();
    for (int64_t i = 0; i < blocks; ++i) ratio[i].fill_(settings.share_of(i, blocks));
    fixture.expect_close(ratio, name);
  }
  fixture.expect_all_checked();
}

// At first w = 1: with all tokens kept this is the plain block, and a token skipped passes as it
// is.
TEST(PMod, AtFirstOnlySkips) {
  const at::Tensor A = random_normal({4, 4}, "A"), x = random_normal({2, 6, 4}, "x");
  const Block all("kind = \"p_mod\"\nshare = 0.8\ndense_above = 0.9\nleast = 1", 4, 6);
  testing::expect_close(all->forward(x, stand_in(A), {}), x + x.matmul(A).tanh(), 1e-6, 1e-6,
                        "all");
  const Block none("kind = \"p_mod\"\nshare = 0\nleast = 0", 4, 6);
  EXPECT_TRUE(none->forward(x, stand_in(A), {}).equal(x));
  // All weights tie: the first tokens are kept.
  const Block half("kind = \"p_mod\"\nshare = 0.5", 4, 6);
  const at::Tensor y = half->forward(x, stand_in(A), {});
  EXPECT_TRUE(y.narrow(1, 3, 3).equal(x.narrow(1, 3, 3)));
  EXPECT_FALSE(y.narrow(1, 0, 3).eq(x.narrow(1, 0, 3)).any().item<bool>());
}

TEST(Mod, EverySecondBlockWorksOnTheBestTokens) {
  const at::Tensor A = random_normal({4, 4}, "A"), x = random_normal({2, 8, 4}, "x");
  const Block first("kind = \"mod\"\nshare = 0.25", 4, 8, /*index=*/0, /*blocks=*/2);
  EXPECT_TRUE(first->forward(x, stand_in(A), {}).equal(x + x.matmul(A).tanh()));

  Block second("kind = \"mod\"\nshare = 0.25", 4, 8, /*index=*/1, /*blocks=*/2);
  const at::Tensor w = random_normal({1, 4}, "w");
  second.load({{"routing.weight", w}, {"routing.bias", tensor_of({0.5})}});
  const at::Tensor y = second->forward(x, stand_in(A), {});
  const at::Tensor r = x.matmul(w.t()).add(0.5).squeeze(-1);
  for (int64_t b = 0; b < 2; ++b) {
    const at::Tensor order = r[b].argsort(true, 0, true);
    for (int64_t i = 0; i < 8; ++i) {
      const int64_t l = order[i].item<int64_t>();
      const at::Tensor expected = i < 2 ? x[b][l] + r[b][l] * x[b][l].matmul(A).tanh() : x[b][l];
      testing::expect_close(y[b][l], expected, 1e-5, 1e-6, "token");
    }
  }
}

REFERENCE_TEST(MorCases, ExpertChoiceMatchesTheReference, "routing/kind_mor_expert_choice") {
  const Json& config = fixture.config();
  const int64_t depths = config.at("depths").as_int();
  std::ostringstream toml;
  toml.precision(17);
  toml << "kind = \"mor\"\nrecursions = " << depths << "\nalpha = " << config.at("alpha").dump()
       << "\nlosses = { membership = { weight = "
       << fixture.number_in("loss", "([0-9][0-9.eE+-]*)\\*out\\.aux") << " } }";
  Block block(toml.str(), config.at("D").as_int(), config.at("L").as_int());
  block.load({{"routing.weight", fixture.in("router")}});
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const at::Tensor A = fixture.in("A").clone().set_requires_grad(true);
  std::vector<RoutingRecord> routing;
  const at::Tensor out = block->forward(x, stand_in(A), {.training = true, .routing = &routing});
  fixture.expect_close(out, "out.x");
  ASSERT_EQ(routing.size(), 1u);
  for (int64_t r = 0; r < depths; ++r) {
    const std::string name = "out.set" + std::to_string(r + 1);
    const at::Tensor member_BL = routing[0].kept.mask_BLE().select(-1, r);
    const at::Tensor set_BK = member_BL.nonzero().select(1, 1).reshape({x.size(0), -1});
    fixture.expect_close(set_BK, name);
    EXPECT_EQ(set_BK.size(1), config.at("k").as_array().at(r).as_int());
  }
  const std::vector<sparse::LossTotal> losses = sparse::total_losses(routing, {});
  ASSERT_EQ(losses.size(), 1u);
  fixture.expect_close(losses[0].value, "out.aux");
  out.mul(fixture.in("cotangent")).sum().add(losses[0].value, losses[0].weight).backward();
  fixture.expect_close(x.grad(), "grad.x");
  fixture.expect_close(A.grad(), "grad.A");
  fixture.expect_close(block.gradient("routing.weight"), "grad.router");
  fixture.expect_all_checked();
}

REFERENCE_TEST(MorCases, TokenChoiceMatchesTheReference, "routing/kind_mor_token_choice") {
  const Json& config = fixture.config();
  std::ostringstream toml;
  toml.precision(17);
  toml << "kind = \"mor\"\nchoice = \"token\"\nrecursions = " << config.at("depths").as_int()
       << "\nlosses = { balance = { weight = "
       << fixture.number_in("loss", "([0-9][0-9.eE+-]*)\\*out\\.balance")
       << " }, z = { weight = " << fixture.number_in("loss", "([0-9][0-9.eE+-]*)\\*out\\.z")
       << " } }";
  Block block(toml.str(), config.at("D").as_int(), config.at("T").as_int());
  block.load({{"routing.weight", fixture.in("router")}});
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const at::Tensor A = fixture.in("A").clone().set_requires_grad(true);
  std::vector<RoutingRecord> routing;
  const at::Tensor out =
      block->forward(x.unsqueeze(0), stand_in(A), {.training = true, .routing = &routing});
  fixture.expect_close(out[0], "out.x");
  const at::Tensor depth = routing.at(0).kept.mask_BLE()[0].to(at::kLong).argmax(-1).add(1);
  fixture.expect_close(depth, "out.depth");
  at::Tensor loss = out[0].mul(fixture.in("cotangent")).sum();
  for (const sparse::LossTotal& part : sparse::total_losses(routing, {})) {
    fixture.expect_close(part.value, "out." + part.kind);
    loss = loss.add(part.value, part.weight);
  }
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  fixture.expect_close(A.grad(), "grad.A");
  fixture.expect_close(block.gradient("routing.weight"), "grad.router");
  fixture.expect_all_checked();
}

// The scalar example of the notes: block(x) = x + 1, x = 2, u = 0, so g = 0.05: 2.15, then 2.3075.
TEST(Mor, ScalarExample) {
  const BlockBody plus_one = plain_body(
      [](const at::Tensor& x, const at::Tensor&, const at::Tensor&) { return x.add(1); });
  const at::Tensor x = tensor_of({2}).reshape({1, 1, 1});
  for (const auto& [recursions, expected] : {std::pair("1", 2.15), std::pair("2", 2.3075)}) {
    Block block(std::string("kind = \"mor\"\nrecursions = ") + recursions, 1, 1);
    for (const nn::Parameter* parameter : block.root().parameters()) {
      (*parameter)->detach().zero_();
    }
    EXPECT_NEAR(block->forward(x, plus_one, {}).item<double>(), expected, 1e-6);
  }
}

REFERENCE_TEST(TimestepMaskCases, MatchTheReference, "routing/kind_switch_dit") {
  const Json& config = fixture.config();
  Block block("kind = \"timestep_mask\"\nexperts = " + config.at("M").dump() +
                  "\nactive = " + config.at("k").dump(),
              config.at("D").as_int(), config.at("L").as_int());
  block.load({{"routing.gate.weight", fixture.in("gate_weight")[0]},
              {"routing.gate.bias", fixture.in("gate_bias")[0]},
              {"routing.experts.weight", fixture.in("U")},
              {"routing.experts.bias", fixture.in("u")}});
  const at::Tensor z = fixture.in("z");
  const nn::ForwardContext ctx{
      .training = true,
      .time_embedding_BD = fixture.in("embedding").index_select(0, fixture.in("t"))};
  at::Tensor masked;
  const BlockBody body = plain_body([&](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    masked = x;
    return x.mul(3);  // any block
  });
  const at::Tensor out = block->forward(z, body, ctx);
  const at::Tensor want = fixture.out("mask");
  testing::expect_close(masked, want * z, fixture.rtol(), fixture.atol(), "masked input");
  fixture.expect_close(masked.div(z), "out.mask");
  testing::expect_close(out, 3 * want * z + (1 - want) * z, fixture.rtol(), fixture.atol(), "out");
}

// The maps start at zero: the mask is 1 and the block a plain one, bit for bit.
TEST(TimestepMask, StartsAsThePlainBlock) {
  const at::Tensor A = random_normal({4, 4}, "A"), x = random_normal({2, 5, 4}, "x");
  const Block block("kind = \"timestep_mask\"", 4, 5);
  const at::Tensor plain = x + x.matmul(A).tanh();
  EXPECT_TRUE(block->forward(x, stand_in(A), {.time_embedding_BD = random_normal({2, 4}, "t")})
                  .equal(plain));
  EXPECT_THAT(testing::message_of([&] { block->forward(x, stand_in(A), {}); }),
              HasSubstr("needs a model that embeds a timestep"));
  EXPECT_THAT(
      testing::message_of([] { Block("kind = \"timestep_mask\"\nexperts = 2\nactive = 3", 4, 5); }),
      HasSubstr("3 active experts of 2"));
}

}  // namespace
}  // namespace gallop::blocks
