#include "gallop/ops/bridge.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gallop::ops {
namespace {

using Tensors = std::vector<at::Tensor>;

at::Tensor numbers(int64_t count, double from, double step, bool requires_grad = true) {
  return at::arange(count, at::kDouble).mul(step).add(from).set_requires_grad(requires_grad);
}

struct Calls {
  int backward = 0, reference = 0;
};

// (a * b^2, a + b): two outputs, gradients by hand.
Tensors operator_ab(const at::Tensor& a, const at::Tensor& b, Calls* calls = nullptr) {
  const auto compute = [](const Tensors& in) {
    return Tensors{in[0] * in[1] * in[1], in[0] + in[1]};
  };
  Tensors outputs;
  {
    const at::NoGradGuard no_grad;
    outputs = compute({a, b});
  }
  const auto backward = [calls](const Tensors& grads, const Tensors& in,
                                const std::vector<bool>& needed) {
    if (calls != nullptr) ++calls->backward;
    EXPECT_FALSE(at::GradMode::is_enabled());
    const at::Tensor zero = at::full_like(in[0], 0);
    const at::Tensor g0 = grads[0].defined() ? grads[0] : zero;
    const at::Tensor g1 = grads[1].defined() ? grads[1] : zero;
    Tensors result(2);
    if (needed[0]) result[0] = g0 * in[1] * in[1] + g1;
    if (needed[1]) result[1] = g0 * in[0] * in[1] * 2 + g1;
    return result;
  };
  const auto reference = [calls, compute](const Tensors& in) {
    if (calls != nullptr) ++calls->reference;
    return compute(in);
  };
  set_derivative(outputs, {a, b}, {"AB", backward, reference});
  return outputs;
}

TEST(Bridge, GradientsReachTheInputs) {
  const at::Tensor a = numbers(4, 1, 1), b = numbers(4, -2, 0.5);
  Calls calls;
  const Tensors out = operator_ab(a, b, &calls);
  (out[0] * 3 + out[1]).sum().backward();
  EXPECT_TRUE(at::equal(a.grad(), b.detach() * b.detach() * 3 + 1));
  EXPECT_TRUE(at::equal(b.grad(), a.detach() * b.detach() * 6 + 1));
  EXPECT_EQ(calls.backward, 1);
  EXPECT_EQ(calls.reference, 0);
}

TEST(Bridge, OneOutputIsEnoughAndUnneededInputsGetNothing) {
  const at::Tensor a = numbers(4, 1, 1, false), b = numbers(4, -2, 0.5);
  operator_ab(a, b)[1].sum().backward();
  EXPECT_FALSE(a.grad().defined());
  EXPECT_TRUE(at::equal(b.grad(), at::ones_like(b)));
}

TEST(Bridge, NoGraphWithoutNeed) {
  const at::Tensor a = numbers(4, 1, 1, false), b = numbers(4, 0, 1, false);
  EXPECT_FALSE(operator_ab(a, b)[0].requires_grad());
  const at::Tensor c = numbers(4, 0, 1);
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(wants_graph({a, c}));
  EXPECT_FALSE(operator_ab(a, c)[0].requires_grad());
}

TEST(Bridge, UndefinedInputsAreAllowed) {
  const at::Tensor a = numbers(3, 1, 1);
  at::Tensor doubled;
  {
    const at::NoGradGuard no_grad;
    doubled = a * 2;
  }
  set_derivative({doubled}, {a, at::Tensor()},
                 {"Double",
                  [](const Tensors& grads, const Tensors& in, const std::vector<bool>& needed) {
                    EXPECT_FALSE(in[1].defined());
                    EXPECT_FALSE(needed[1]);
                    return Tensors{grads[0] * 2, at::Tensor()};
                  },
                  [](const Tensors& in) { return Tensors{in[0] * 2}; }});
  doubled.sum().backward();
  EXPECT_TRUE(at::equal(a.grad(), at::full_like(a, 2)));
}

TEST(Bridge, ChangingASavedInputInPlaceThrows) {
  const at::Tensor a = numbers(4, 1, 1), b = numbers(4, -2, 0.5);
  const Tensors out = operator_ab(a, b);
  b.detach().add_(1);
  try {
    out[0].sum().backward();
    FAIL() << "the backward used a changed input";
  } catch (const c10::Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("modified by an inplace operation"));
  }
}

TEST(Bridge, ASecondBackwardNeedsRetainGraph) {
  const at::Tensor a = numbers(4, 1, 1), b = numbers(4, -2, 0.5);
  const at::Tensor kept = operator_ab(a, b)[0].sum();
  kept.backward({}, /*retain_graph=*/true);
  kept.backward();
  EXPECT_TRUE(at::equal(a.grad(), b.detach() * b.detach() * 2));
  EXPECT_THROW(kept.backward(), c10::Error);
}

// d/da (a b^2)' etc. with b = a * 2: the reference is differentiated in its own inputs, the engine
// follows the path from b to a.
TEST(Bridge, CreateGraphDifferentiatesTheReference) {
  const at::Tensor a = numbers(4, 1, 1);
  const at::Tensor b = a * 2;
  Calls calls;
  operator_ab(a, b, &calls)[0].sum().backward({}, /*retain_graph=*/true, /*create_graph=*/true);
  EXPECT_EQ(calls.backward, 0);
  EXPECT_EQ(calls.reference, 1);
  // f = 4 a^3, f' = 12 a^2, f'' = 24 a
  const at::Tensor first = a.grad();
  EXPECT_TRUE(at::equal(first.detach(), a.detach() * a.detach() * 12));
  ASSERT_TRUE(first.requires_grad());
  a.mutable_grad() = at::Tensor();
  first.sum().backward();
  EXPECT_TRUE(at::equal(a.grad(), a.detach() * 24));
}

}  // namespace
}  // namespace gallop::ops
