#include "gallop/sparse/layers/soft_moe.h"

#include <gtest/gtest.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/experts/grouped.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;

// The fixture's stand-in expert: tanh(W_e x).
class TanhExperts : public Experts {
 public:
  explicit TanhExperts(const Args& args)
      : Experts(*args.parent, "experts"),
        weight_(*this, "weight", {args.experts, args.D, args.D}, nn::Init::normal(1)) {}
  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext&) const override {
    const at::Tensor x_PD = x_TD.index_select(0, pairs.token_P());
    return combine(grouped_linear(x_PD, pairs, *weight_, {}).tanh(), pairs, x_TD);
  }

 private:
  nn::Parameter weight_;
};

const config::Register<Experts, config::NoSettings> registered{
    "test_tanh", "tanh(W x)", "tests",
    [](const auto&, const Experts::Args& args) { return std::make_unique<TanhExperts>(args); }};

REFERENCE_TEST(SoftMoeCases, MatchTheReference, "routing/kind_soft_moe") {
  const Json& config = fixture.config();
  nn::Module root;
  SoftMoeSettings settings;
  settings.experts = config.at("E").as_int();
  settings.slots = config.at("slots").as_int();
  settings.kind_of_experts.choose("test_tanh");
  const SoftMoe layer(settings, {.parent = &root,
                                 .D = config.at("D").as_int(),
                                 .tokens = config.at("L").as_int(),
                                 .layers = 1});
  testing::load(
      root, {{"moe.phi.weight", fixture.in("phi")}, {"moe.experts.weight", fixture.in("expert")}});
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const SoftMoe::Mixing mixing = layer.mixing(x);
  fixture.expect_close(mixing.dispatch_BLES, "out.dispatch");
  fixture.expect_close(mixing.combine_BLES, "out.combine");
  const at::Tensor slots = mixing.dispatch_BLES.flatten(2).transpose(1, 2).matmul(x);
  fixture.expect_close(slots.reshape(fixture.out("slots").sizes()), "out.slots");
  const at::Tensor y = layer.forward(x, {.training = true});
  fixture.expect_close(y, "out.y");
  y.mul(fixture.in("cotangent")).sum().backward();
  fixture.expect_close(x.grad(), "grad.x");
  fixture.expect_close(testing::gradient_of(*root.find_parameter("moe.phi.weight")), "grad.phi");
  fixture.expect_close(testing::gradient_of(*root.find_parameter("moe.experts.weight")),
                       "grad.expert");
  fixture.expect_all_checked();
}

TEST(SoftMoe, ARecipeBuildsItAndSamplesDoNotMeet) {
  nn::Module root;
  const auto layer =
      testing::make<nn::FeedForward>("kind = \"soft_moe\"\nexperts = 3\nslots = 2\nhidden = 5",
                                     {.parent = &root, .D = 4, .tokens = 6, .layers = 1});
  root.materialize(/*seed=*/1);
  const at::Tensor x = random_normal({3, 6, 4}, "x");
  const at::Tensor y = layer->forward(x, {});
  testing::expect_close(layer->forward(x.narrow(0, 1, 1), {}), y.narrow(0, 1, 1), 1e-5, 1e-6,
                        "alone");
}

}  // namespace
}  // namespace gallop::sparse
