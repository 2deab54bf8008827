#include "tests/ops/operator_test.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include <cctype>

#include "tests/support/fixture.h"
#include "tests/support/threads.h"

namespace gallop::testing {

namespace {

Tensors leaves(const Tensors& inputs, at::ScalarType type) {
  Tensors result;
  for (const at::Tensor& input : inputs) {
    result.push_back(input.to(type, /*non_blocking=*/false, /*copy=*/true).set_requires_grad(true));
  }
  return result;
}

at::Tensor cotangent(const at::Tensor& y) {
  return random("cotangent", y.sizes()).to(y.scalar_type());
}

double largest(const at::Tensor& x) { return x.numel() == 0 ? 0 : x.abs().max().item<double>(); }

void expect_close_to_reference(const at::Tensor& got, const at::Tensor& want, double tolerance,
                               const std::string& label) {
  ASSERT_TRUE(got.defined()) << label;
  expect_close(got.to(at::kDouble), want, 0, tolerance * (largest(want) + 1e-30), label);
}

std::string label(const OperatorCase& c, size_t i) {
  return i == 0 ? c.name : c.name + ", gradient " + std::to_string(i - 1);
}

}  // namespace

Tensors forward_backward(const std::function<at::Tensor(const Tensors&)>& op,
                         const Tensors& inputs) {
  const at::Tensor y = op(inputs);
  y.backward(cotangent(y));
  Tensors result{y.detach()};
  for (const at::Tensor& input : inputs) result.push_back(input.grad());
  return result;
}

void expect_kernel_is_right(const OperatorCase& c) {
  const Tensors got = forward_backward(c.op, leaves(c.inputs, at::kFloat));
  const Tensors want = forward_backward(c.reference, leaves(c.inputs, at::kDouble));
  for (size_t i = 0; i < want.size(); ++i) {
    expect_close_to_reference(got[i], want[i], c.tolerance, label(c, i));
  }
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(c.op(c.inputs), got[0])) << c.name << " differs without a graph";
}

void expect_gradients_are_right(const OperatorCase& c) {
  const Threads one(1);  // many small calls
  const Tensors inputs = leaves(c.inputs, at::kDouble);
  const Tensors result = forward_backward(c.op, inputs);
  const at::NoGradGuard no_grad;
  const at::Tensor weight = cotangent(result[0]);
  const double step = 1e-5;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor flat = inputs[i].detach().view(-1), gradient = result[i + 1].reshape(-1);
    const double scale = largest(gradient) + 1;
    // About a dozen elements of each input.
    for (int64_t at = 0; at < flat.numel(); at += flat.numel() / 12 + 1) {
      const double value = flat[at].item<double>();
      flat[at].fill_(value + step);
      const double above = c.op(inputs).mul(weight).sum().item<double>();
      flat[at].fill_(value - step);
      const double below = c.op(inputs).mul(weight).sum().item<double>();
      flat[at].fill_(value);
      EXPECT_NEAR(gradient[at].item<double>(), (above - below) / (2 * step), 1e-6 * scale)
          << label(c, i + 1) << ", element " << at;
    }
  }
}

void expect_same_bits_for_all_threads(const OperatorCase& c) {
  const Threads restored(1);
  const Tensors one = forward_backward(c.op, leaves(c.inputs, at::kFloat));
  for (const int threads : {2, 3}) {
    Threads::set(threads);
    const Tensors several = forward_backward(c.op, leaves(c.inputs, at::kFloat));
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(at::equal(one[i], several[i])) << label(c, i) << ", " << threads << " threads";
    }
  }
}

void expect_second_derivative_is_right(const OperatorCase& c) {
  const Threads one(1);
  const auto second = [&](at::ScalarType type) {
    const Tensors inputs = leaves(c.inputs, type);
    const at::Tensor y = c.op(inputs);
    y.backward(cotangent(y), /*retain_graph=*/true, /*create_graph=*/true);
    at::Tensor sum;
    for (const at::Tensor& input : inputs) {
      const at::Tensor part = input.grad().mul(input.grad()).sum();
      sum = sum.defined() ? sum.add(part) : part;
      input.mutable_grad() = at::Tensor();
    }
    sum.backward();
    Tensors result;
    for (const at::Tensor& input : inputs) result.push_back(input.grad());
    return result;
  };
  const Tensors got = second(at::kFloat), want = second(at::kDouble);
  for (size_t i = 0; i < want.size(); ++i) {
    if (!want[i].defined()) continue;
    expect_close_to_reference(got[i], want[i], 10 * c.tolerance,
                              label(c, i + 1) + " of the gradients");
  }
}

std::string test_name(const ::testing::TestParamInfo<OperatorCase>& info) {
  std::string name;
  for (const char c : info.param.name) name += std::isalnum(c) ? c : '_';
  return name;
}

}  // namespace gallop::testing
