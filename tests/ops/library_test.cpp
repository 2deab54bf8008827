// The operators under the names that Python knows.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <gtest/gtest.h>

#include "gallop/ops/linear.h"
#include "gallop/ops/topk_mask.h"
#include "tests/ops/operator_case.h"

namespace gallop::ops {
namespace {

using testing::random;

template <class... Args>
at::Tensor call(const std::string& name, Args... args) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(("gallop::" + name).c_str(), "");
  torch::jit::Stack stack{c10::IValue(args)...};
  op.callBoxed(stack);
  return stack.at(0).toTensor();
}

TEST(Library, HasEveryOperatorAndItsReference) {
  for (const std::string name :
       {"linear", "linear_gelu", "gelu_tanh", "adaln_modulate", "adaln_gate", "adaln_add",
        "self_attention", "attention", "grouped_mlp", "topk_mask"}) {
    for (const char* suffix : {"", "_reference"}) {
      EXPECT_TRUE(c10::Dispatcher::singleton().findSchema({"gallop::" + name + suffix, ""}))
          << name << suffix;
    }
  }
}

TEST(Library, RunsThemWithTheirDerivatives) {
  const at::Tensor x = random("x", {5, 8}).set_requires_grad(true), w = random("w", {3, 8});
  const at::Tensor y = call("linear", x, w, c10::IValue());
  EXPECT_TRUE(y.equal(linear(x, w, {})));
  y.sum().backward();
  EXPECT_TRUE(x.grad().allclose(w.sum(0).expand({5, 8})));
  const at::Tensor key = random("key", {2, 9});
  EXPECT_TRUE(call("topk_mask", key, int64_t{4}).equal(topk_mask(key, 4).mask_RN));
}

}  // namespace
}  // namespace gallop::ops
