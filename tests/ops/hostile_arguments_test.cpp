// No operator that Python can call may end the process, read what is not there or put out what its
// reference does not, whatever it is given: every registered one with wrong index arrays, shapes,
// types, devices, memory orders and combinations of gradients.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/stack.h>
#include <ATen/ops/_neg_view.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <sstream>

#include "gallop/base/random.h"
#include "tests/ops/operator_case.h"
#include "tests/support/fixture.h"

namespace gallop::ops {
namespace {

using c10::IValue;
using testing::random;
using Arguments = std::vector<IValue>;

constexpr const char* reference_suffix = "_reference";

// T = 5, D = 8, H = 6, three experts, the second without a token; the others get 3 and 2.
const std::vector<int64_t> good_offsets{0, 3, 3, 5}, good_tokens{0, 1, 4, 1, 2};

// Right arguments of each operator, by name without suffix.
std::map<std::string, Arguments> right_arguments() {
  const at::Tensor x = random("x", {2, 5, 8});
  const at::Tensor w = random("w", {6, 8}), b = random("b", {6}), m = random("m", {2, 8});
  return {{"linear", {x, w, b}},
          {"linear_gelu", {x, w, b}},
          {"gelu_tanh", {x}},
          {"adaln_modulate", {x, m, random("m2", {2, 8}), 1e-6}},
          {"adaln_gate", {m, x}},
          {"adaln_add", {random("x2", {2, 5, 8}), m, x}},
          {"self_attention", {random("qkv", {2, 5, 24}), int64_t{2}}},
          // Four heads of three queries over two of five keys, in two segments.
          {"attention",
           {random("q", {2, 3, 4, 2}), random("k", {2, 5, 2, 2}), random("v", {2, 5, 2, 2}),
            at::tensor(std::vector<int64_t>{0, 0, 0, 1, 1, 7, 7, 7, 7, 7}).reshape({2, 5}), true,
            int64_t{2}, 0.5, int64_t{2}}},
          {"grouped_mlp",
           {x[0], at::tensor(good_offsets), at::tensor(good_tokens), random("gate", {5}),
            random("w1", {3, 6, 8}), random("b1", {3, 6}), random("w2", {3, 8, 6}),
            random("b2", {3, 8})}},
          {"topk_mask", {random("key", {4, 9}), int64_t{3}}}};
}

// Names of all operators of the library, without suffix.
std::vector<std::string> operators() {
  std::vector<std::string> names;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("gallop::", 0) == 0 && !name.name.ends_with(reference_suffix)) {
      names.push_back(name.name.substr(8));
    }
  }
  return names;
}

// The result and, where there is a graph, the gradients of all arguments; nothing for an exception.
std::optional<std::vector<at::Tensor>> outcome(const std::string& name, const Arguments& given) {
  // Leaves of its own, which keep their memory order.
  Arguments arguments = given;
  for (IValue& argument : arguments) {
    if (!argument.isTensor() || !argument.toTensor().defined()) continue;
    const at::Tensor leaf = argument.toTensor().detach();
    argument = leaf.set_requires_grad(argument.toTensor().requires_grad());
  }
  try {
    torch::jit::Stack stack(arguments);
    c10::Dispatcher::singleton()
        .findSchemaOrThrow(("gallop::" + name).c_str(), "")
        .callBoxed(stack);
    const at::Tensor y = stack.at(0).toTensor();
    std::vector<at::Tensor> results{y.detach()};
    if (!y.requires_grad()) return results;
    y.sum().backward();
    for (const IValue& argument : arguments) {
      results.push_back(argument.isTensor() && argument.toTensor().defined()
                            ? argument.toTensor().grad()
                            : at::Tensor());
    }
    return results;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// An operator that puts something out puts out what its reference does.
void check(const std::string& name, const Arguments& arguments, const std::string& what) {
  SCOPED_TRACE(name + ": " + what);
  const auto got = outcome(name, arguments), want = outcome(name + reference_suffix, arguments);
  if (!got) return;
  ASSERT_TRUE(want) << "the reference refuses this";
  ASSERT_EQ(got->size(), want->size());
  for (size_t i = 0; i < got->size(); ++i) {
    const at::Tensor &a = (*got)[i], &b = (*want)[i];
    ASSERT_EQ(a.defined(), b.defined()) << i;
    if (!a.defined()) continue;
    ASSERT_EQ(a.sizes(), b.sizes()) << i;
    ASSERT_EQ(a.device(), b.device()) << i;
    if (a.is_meta() || !a.is_floating_point()) continue;
    const auto dense = [](const at::Tensor& t) {
      return (t.layout() == at::kStrided ? t : t.to_dense()).to(at::kDouble);
    };
    testing::expect_close(dense(a), dense(b), 1e-4, 1e-4, std::to_string(i));
  }
}

struct Change {
  std::string name;
  std::function<IValue(const IValue&)> make;
};

at::Tensor resized(const at::Tensor& x, int64_t d, int64_t change) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[d] = change == 0 ? 0 : shape[d] + change;
  return at::zeros(shape, x.options());
}

// What may be wrong or unusual about a tensor.
std::vector<Change> tensor_changes(const at::Tensor& x) {
  std::vector<Change> changes;
  const auto add = [&](const std::string& name,
                       const std::function<at::Tensor(const at::Tensor&)>& f) {
    changes.push_back({name, [f](const IValue& given) -> IValue { return f(given.toTensor()); }});
  };
  for (const at::ScalarType type :
       {at::kDouble, at::kHalf, at::kBFloat16, at::kInt, at::kLong, at::kBool, at::kComplexFloat}) {
    add(c10::toString(type), [type](const at::Tensor& t) { return t.to(type); });
  }
  add("meta",
      [](const at::Tensor& t) { return at::empty(t.sizes(), t.options().device(at::kMeta)); });
  add("undefined", [](const at::Tensor&) { return at::Tensor(); });
  add("scalar", [](const at::Tensor& t) { return t.flatten()[0]; });
  add("one dimension more", [](const at::Tensor& t) { return t.unsqueeze(0); });
  add("one dimension less", [](const at::Tensor& t) { return t.select(0, 0); });
  add("sparse", [](const at::Tensor& t) { return t.to_sparse(); });
  add("not contiguous", [](const at::Tensor& t) {
    return t.dim() < 2 ? t.repeat({2}).unflatten(0, {t.size(0), 2}).select(1, 0)
                       : t.transpose(0, -1).contiguous().transpose(0, -1);
  });
  add("expanded", [](const at::Tensor& t) { return t.narrow(0, 0, 1).expand(t.sizes()); });
  add("negative view", [](const at::Tensor& t) { return at::_neg_view(t); });
  for (int64_t d = 0; d < x.dim(); ++d) {
    for (const int64_t change : {-1, 0, 1}) {
      std::ostringstream name;
      name << "dimension " << d << (change == 0 ? " empty" : change < 0 ? " shorter" : " longer");
      add(name.str(), [d, change](const at::Tensor& t) { return resized(t, d, change); });
    }
  }
  if (x.scalar_type() != at::kLong) {
    add("wants a gradient", [](const at::Tensor& t) { return t.clone().set_requires_grad(true); });
    return changes;
  }
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  for (int64_t i = 0; i < x.numel(); ++i) {
    for (const int64_t value :
         {int64_t{-1}, int64_t{4}, int64_t{5}, int64_t{1000000}, most, -most - 1}) {
      std::ostringstream name;
      name << "[" << i << "] = " << value;
      add(name.str(), [i, value](const at::Tensor& t) {
        at::Tensor changed = t.clone();
        changed.view(-1)[i] = value;
        return changed;
      });
    }
  }
  add("reversed", [](const at::Tensor& t) { return t.flip(0); });
  return changes;
}

std::vector<Change> changes_of(const IValue& given) {
  std::vector<Change> changes;
  const auto to = [&](const IValue& value) {
    std::ostringstream name;
    name << value;
    changes.push_back({name.str(), [value](const IValue&) { return value; }});
  };
  if (given.isTensor()) return tensor_changes(given.toTensor());
  if (given.isInt()) {
    // 3 * 6148914691236517206 is 2 in 64 bits.
    for (const int64_t value :
         {int64_t{-1}, int64_t{0}, int64_t{7}, int64_t{9}, int64_t{10}, int64_t{1} << 62,
          int64_t{6148914691236517206}, std::numeric_limits<int64_t>::max(),
          std::numeric_limits<int64_t>::min()}) {
      to(value);
    }
  } else {
    for (const double value : {0.0, 1.0, 1e300}) to(value);
  }
  return changes;
}

TEST(HostileArguments, EveryOperatorHasRightOnes) {
  const auto right = right_arguments();
  ASSERT_GE(operators().size(), 8u);
  for (const std::string& name : operators()) {
    ASSERT_TRUE(right.contains(name)) << "give " << name << " arguments in right_arguments()";
    EXPECT_TRUE(outcome(name, right.at(name))) << name;
    check(name, right.at(name), "right arguments");
  }
}

TEST(HostileArguments, OneAtATime) {
  for (const std::string& name : operators()) {
    const Arguments right = right_arguments().at(name);
    for (size_t i = 0; i < right.size(); ++i) {
      for (const Change& change : changes_of(right[i])) {
        Arguments arguments = right;
        arguments[i] = change.make(right[i]);
        check(name, arguments, "argument " + std::to_string(i) + ", " + change.name);
      }
    }
  }
}

TEST(HostileArguments, SeveralAtATime) {
  for (const std::string& name : operators()) {
    const Arguments right = right_arguments().at(name);
    std::vector<std::vector<Change>> changes;
    for (const IValue& argument : right) changes.push_back(changes_of(argument));
    for (uint64_t round = 0; round < 400; ++round) {
      Arguments arguments = right;
      std::string what;
      for (size_t i = 0; i < right.size(); ++i) {
        const auto draw = [&](uint64_t n, uint64_t step) {
          return uniform_below(n, {.seed = hash_name(name),
                                   .purpose = "hostile",
                                   .sample = round * 16 + i,
                                   .step = step});
        };
        if (draw(3, 0) > 0) continue;
        const Change& change = changes[i][draw(changes[i].size(), 1)];
        arguments[i] = change.make(right[i]);
        what += " argument " + std::to_string(i) + ", " + change.name + ";";
      }
      check(name, arguments, what);
    }
  }
}

// Each combination of arguments that want a gradient, and whether the others get none.
TEST(HostileArguments, AllCombinationsOfGradients) {
  for (const std::string& name : operators()) {
    const Arguments right = right_arguments().at(name);
    std::vector<size_t> real;
    for (size_t i = 0; i < right.size(); ++i) {
      if (right[i].isTensor() && right[i].toTensor().is_floating_point()) real.push_back(i);
    }
    for (uint64_t chosen = 0; chosen < uint64_t{1} << real.size(); ++chosen) {
      Arguments arguments = right;
      for (size_t bit = 0; bit < real.size(); ++bit) {
        arguments[real[bit]] =
            right[real[bit]].toTensor().clone().set_requires_grad((chosen >> bit & 1) != 0);
      }
      check(name, arguments, "gradients " + std::to_string(chosen));
    }
  }
}

// Index arrays that are not what they should be are refused by every form of the operator.
TEST(HostileArguments, IndexArraysAreNotTrusted) {
  const Arguments right = right_arguments().at("grouped_mlp");
  const std::vector<std::vector<int64_t>> wrong_offsets{
      {0, 1000000, 3, 5}, {0, -1, 3, 5}, {1, 3, 3, 5}, {0, 3, 2, 5},    {0, 3, 3, 6},
      {0, 3, 3, 4},       {-5, 3, 3, 5}, {0, 3, 5},    {0, 3, 3, 3, 5}, {}};
  for (const std::string name : {"grouped_mlp", "grouped_mlp_reference"}) {
    for (const auto& offsets : wrong_offsets) {
      Arguments arguments = right;
      arguments[1] = at::tensor(offsets, at::kLong);
      EXPECT_FALSE(outcome(name, arguments)) << name << " " << IValue(offsets);
    }
    for (const std::vector<int64_t>& tokens :
         {std::vector<int64_t>{0, 1, 5, 1, 2}, {0, 1, -1, 1, 2}, {0, 1, 1, 2}}) {
      Arguments arguments = right;
      arguments[2] = at::tensor(tokens, at::kLong);
      EXPECT_FALSE(outcome(name, arguments)) << name << " " << IValue(tokens);
    }
  }
}

// Offsets that change between the forward and a second derivative are those of the forward.
TEST(HostileArguments, ASecondDerivativeKnowsItsOwnIndexArrays) {
  const auto second = [](bool change) {
    Arguments arguments = right_arguments().at("grouped_mlp");
    const at::Tensor x = arguments[0].toTensor().clone().set_requires_grad(true);
    const at::Tensor offsets = arguments[1].toTensor().clone(),
                     tokens = arguments[2].toTensor().clone();
    arguments[0] = x;
    arguments[1] = offsets;
    arguments[2] = tokens;
    torch::jit::Stack stack(arguments);
    c10::Dispatcher::singleton().findSchemaOrThrow("gallop::grouped_mlp", "").callBoxed(stack);
    const at::Tensor y = stack.at(0).toTensor();
    if (change) {
      offsets.copy_(at::tensor(std::vector<int64_t>{0, 1000000, 3, 5}));
      tokens.fill_(4);
    }
    y.square().sum().backward({}, /*retain_graph=*/true, /*create_graph=*/true);
    const at::Tensor first = x.grad().clone();
    x.mutable_grad().reset();
    first.square().sum().backward();
    return x.grad();
  };
  EXPECT_TRUE(second(false).equal(second(true)));
}

}  // namespace
}  // namespace gallop::ops
