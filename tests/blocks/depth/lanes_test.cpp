// Depth routing over a stream whose state has lanes: each formula written out lane by lane, and a
// whole network against central differences.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "gallop/blocks/depth/block_routing.h"
#include "gallop/config/registry.h"
#include "gallop/models/denoiser.h"
#include "tests/blocks/two_lanes.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::blocks {
namespace {

using testing::Lanes;
using testing::random_normal;

constexpr int64_t B = 2, L = 6, D = 4;

at::Tensor normal(at::IntArrayRef shape, const std::string& name) {
  return random_normal(shape, name).to(at::kDouble);
}

// A routing of random weights around the sublayer tanh(x A), in float64.
class Routed {
 public:
  explicit Routed(const std::string& toml)
      : stream_(testing::make<ResidualStream>("kind = \"two_lanes\"", {.parent = &root_, .D = D})),
        routing_(testing::make<BlockRouting>(
            toml, {.parent = &root_, .D = D, .tokens = L, .index = 1, .blocks = 2})) {
    root_.materialize(/*seed=*/0, {.dtype = at::kDouble});
    for (nn::Parameter* parameter : root_.parameters()) {
      parameter->set_value(normal(parameter->shape(), parameter->name()));
    }
  }

  at::Tensor forward() const {
    const BlockBody body{
        .stream = *stream_,
        .run = [&](const at::Tensor& state, const at::Tensor& positions, const at::Tensor& scale) {
          positions_BK = positions;
          at::Tensor branch = branch_of(stream_->read(state, 0, ctx_));
          if (scale.defined()) branch = branch.mul(scale.unsqueeze(-1));
          return stream_->write(state, 0, branch, ctx_);
        }};
    return routing_->forward(state, body, ctx_);
  }
  at::Tensor branch_of(const at::Tensor& x) const { return x.matmul(A).tanh(); }
  // The lanes after the sublayer, its branch times `scale`.
  Lanes after(const Lanes& lanes, const at::Tensor& scale = {}) const {
    const at::Tensor branch = branch_of(lanes.seen());
    return lanes.written(scale.defined() ? branch * scale : branch);
  }
  at::Tensor weight(const std::string& name) const { return **root_.find_parameter(name); }

  const at::Tensor A = normal({D, D}, "A"), state = normal({B, L, 2, D}, "state");
  mutable at::Tensor positions_BK;  ///< of the last run of the block

 private:
  nn::Module root_;
  std::unique_ptr<ResidualStream> stream_;
  std::unique_ptr<BlockRouting> routing_;
  nn::ForwardContext ctx_{.time_embedding_BD = normal({B, D}, "time")};
};

// [B, L, 1], true for the `count` tokens of each sample with the largest scores.
at::Tensor best(const at::Tensor& score_BL, int64_t count) {
  const at::Tensor rank_BL = score_BL.argsort(true, 1, true).argsort(true, 1, false);
  return rank_BL.lt(count).unsqueeze(-1);
}

void expect_lanes(const at::Tensor& state, const Lanes& expected) {
  testing::expect_close(state.select(2, 0), expected.a, 1e-12, 1e-12, "lane a");
  testing::expect_close(state.select(2, 1), expected.b, 1e-12, 1e-12, "lane b");
}

TEST(RoutedLanes, MixtureOfDepths) {
  const Routed block("kind = \"mod\"\nshare = 0.5");
  const Lanes before = Lanes::of(block.state), after = block.after(before);
  const at::Tensor r =
      before.seen().matmul(block.weight("routing.weight").t()) + block.weight("routing.bias");
  const at::Tensor kept = best(r.squeeze(-1), 3);
  const auto lane = [&](const at::Tensor& from, const at::Tensor& to) {
    return at::where(kept, from + r * (to - from), from);
  };
  const at::Tensor out = block.forward();
  expect_lanes(out, {lane(before.a, after.a), lane(before.b, after.b)});
  EXPECT_EQ(block.positions_BK.sizes(), at::IntArrayRef({B, 3}));
  const at::Tensor skipped = kept.logical_not().unsqueeze(-1);
  EXPECT_TRUE(out.masked_select(skipped).equal(block.state.masked_select(skipped)));
}

TEST(RoutedLanes, ProgressiveMixtureOfDepths) {
  const Routed block("kind = \"p_mod\"\nshare = 0.5\nswing = 0.4");
  const Lanes before = Lanes::of(block.state);
  const at::Tensor w = 1 + 0.4 * (before.seen().matmul(block.weight("routing.weight").t()) +
                                  block.weight("routing.bias"))
                                     .tanh();
  const Lanes after = block.after(before, w);
  const at::Tensor kept = best(w.squeeze(-1), 3);
  expect_lanes(block.forward(),
               {at::where(kept, after.a, w * before.a), at::where(kept, after.b, w * before.b)});
}

TEST(RoutedLanes, RecursionsByExperts) {
  const Routed block("kind = \"mor\"\nrecursions = 2\nalpha = 0.3");
  Lanes lanes = Lanes::of(block.state);
  at::Tensor among = at::zeros({B, L, 1}, at::TensorOptions(at::kBool)).logical_not();
  for (int64_t r = 0; r < 2; ++r) {
    const at::Tensor u = lanes.seen().matmul(block.weight("routing.weight")[r]);
    among = best(u.masked_fill(among.squeeze(-1).logical_not(), -1e9), r == 0 ? 6 : 3);
    const at::Tensor gate = 0.3 * u.sigmoid().unsqueeze(-1) * among;
    const Lanes after = block.after(lanes);
    lanes = {lanes.a + gate * after.a, lanes.b + gate * after.b};
  }
  expect_lanes(block.forward(), lanes);
}

TEST(RoutedLanes, RecursionsByTokens) {
  const Routed block("kind = \"mor\"\nrecursions = 3\nchoice = \"token\"");
  const Lanes first = Lanes::of(block.state);
  const at::Tensor p = first.seen().matmul(block.weight("routing.weight").t()).softmax(-1);
  const auto [gate, depth] = p.max(-1, /*keepdim=*/true);
  Lanes last = first;
  for (int64_t r = 0; r < 3; ++r) {
    const Lanes after = block.after(last);
    last = {at::where(depth >= r, after.a, last.a), at::where(depth >= r, after.b, last.b)};
  }
  expect_lanes(block.forward(), {first.a + gate * last.a, first.b + gate * last.b});
}

// With one map its probability is 1.
TEST(RoutedLanes, TimestepMask) {
  const Routed block("kind = \"timestep_mask\"\nexperts = 1\nactive = 1");
  const Lanes before = Lanes::of(block.state);
  const at::Tensor m = 1 + before.seen().matmul(block.weight("routing.experts.weight")[0].t()) +
                       block.weight("routing.experts.bias")[0];
  const Lanes after = block.after({m * before.a, m * before.b});
  expect_lanes(block.forward(), {after.a + (1 - m) * before.a, after.b + (1 - m) * before.b});
}

// A whole DiT in float64: its loss as a function of one random direction in each of its parameters,
// against the gradient that the backward pass gives.
class LanesInADit : public ::testing::TestWithParam<const char*> {};

TEST_P(LanesInADit, HasTheGradientOfCentralDifferences) {
  const auto model = testing::make<models::Denoiser>(
      std::string("kind = \"dit\"\ndepth = 2\nwidth = 8\nheads = 2\npatch = 1\nstream = "
                  "\"two_lanes\"\nblock_routing = ") +
          GetParam(),
      {.channels = 1, .height = 2, .width = 3, .classes = 3});
  model->materialize(/*seed=*/0, {.dtype = at::kDouble});
  for (nn::Parameter* parameter : model->parameters()) {
    if (!parameter->trainable()) continue;
    parameter->set_value(
        normal(parameter->shape(), parameter->name()).mul(0.3).set_requires_grad(true));
  }
  const at::Tensor x = normal({2, 1, 2, 3}, "x"), cotangent = normal({2, 1, 2, 3}, "cotangent");
  const auto loss = [&] {
    return model
        ->forward(x, {.training = true,
                      .timestep_B = testing::tensor_of({100, 700}).to(at::kDouble),
                      .label_B = testing::tensor_of({0, 2}).to(at::kLong)})
        .mul(cotangent)
        .sum();
  };
  loss().backward();
  constexpr double step = 1e-5;
  for (nn::Parameter* parameter : model->parameters()) {
    if (!parameter->trainable()) continue;
    const at::NoGradGuard no_grad;
    const at::Tensor value = **parameter, gradient = testing::gradient_of(*parameter);
    const at::Tensor direction = normal(parameter->shape(), "of " + parameter->name());
    const auto moved = [&](double by) {
      value.add_(direction, by);
      const double result = loss().item<double>();
      value.sub_(direction, by);
      return result;
    };
    const double slope = (moved(step) - moved(-step)) / (2 * step);
    EXPECT_NEAR(gradient.mul(direction).sum().item<double>(), slope, 1e-6 * (1 + std::abs(slope)))
        << parameter->name();
  }
}

INSTANTIATE_TEST_SUITE_P(EveryRouting, LanesInADit,
                         ::testing::Values("\"all\"", "{ kind = \"mod\", share = 0.5, every = 1 }",
                                           "{ kind = \"p_mod\", share = 0.5 }",
                                           "{ kind = \"mor\", recursions = 2 }",
                                           "{ kind = \"mor\", recursions = 2, choice = \"token\" }",
                                           "\"timestep_mask\""));

}  // namespace
}  // namespace gallop::blocks
