#include "gallop/nn/module.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/base/random.h"
#include "gallop/nn/linear.h"
#include "tests/support/tensors.h"

namespace gallop::nn {
namespace {

// root { scale, encoder { first (Linear), "" { shift } } }
struct Encoder : Module {
  explicit Encoder(Module& parent) : Module(parent, "encoder"), first(*this, "first", 4, 6) {}
  Linear first;
};
struct Unnamed : Module {
  explicit Unnamed(Module& parent)
      : Module(parent, ""), shift(*this, "shift", {3}, Init::zeros()) {}
  Parameter shift;
};
struct Root : Module {
  Parameter scale{*this, "scale", {2, 3}, Init::constant(0.5), {.buffer = true}};
  Encoder encoder{*this};
  Unnamed unnamed{encoder};
};

std::vector<std::string> names_of(const Module& module) {
  std::vector<std::string> names;
  for (const Parameter* parameter : module.parameters()) names.push_back(parameter->name());
  return names;
}

TEST(Module, NamesParametersByTheirPath) {
  const Root root;
  EXPECT_EQ(names_of(root), (std::vector<std::string>{"scale", "encoder.first.weight",
                                                      "encoder.first.bias", "encoder.shift"}));
  EXPECT_EQ(root.encoder.name(), "encoder");
  EXPECT_EQ(root.find_parameter("encoder.first.bias")->shape(), std::vector<int64_t>{6});
  EXPECT_EQ(root.find_parameter("encoder.first"), nullptr);
}

TEST(Module, CountsBeforeAnythingIsAllocated) {
  const Root root;
  EXPECT_EQ(root.encoder.first.weight().numel(), 24);
  EXPECT_FALSE((*root.encoder.first.weight()).defined());
}

// A state that all layers share exists once, beside them, and is made by the first that asks.
TEST(Module, APartIsSharedByAllOfAModel) {
  struct Common : Module {
    Common(Module& root, const std::string& name) : Module(root, name) {}
    Parameter value{*this, "value", {2}, Init::zeros(), {.buffer = true}};
  };
  Root root, another;
  EXPECT_EQ(names_of(root).size(), 4u);
  Common& common = root.encoder.shared_part<Common>("losses.common");
  EXPECT_EQ(&root.unnamed.shared_part<Common>("losses.common"), &common);
  EXPECT_EQ(&root.shared_part<Common>("losses.common"), &common);
  EXPECT_NE(&another.shared_part<Common>("losses.common"), &common);
  EXPECT_EQ(names_of(root).back(), "losses.common.value");
  root.materialize(/*seed=*/0);
  EXPECT_TRUE(common.value->defined());
}

// A part says its own work, and one that is applied twice that of those below it twice.
TEST(Module, AddsUpWorkOutsideOfMatrices) {
  struct Pairs : Module {
    explicit Pairs(Module& parent) : Module(parent, "pairs") {}
    double multiply_adds(double tokens) const override { return tokens * tokens; }
  };
  struct Twice : Module {
    explicit Twice(Module& parent) : Module(parent, "twice") {}
    double multiply_adds(double tokens) const override {
      return 2 * Module::multiply_adds(tokens / 2);
    }
    Pairs pairs{*this};
  };
  Module root;
  EXPECT_EQ(root.multiply_adds(4), 0);
  const Pairs pairs(root);
  const Twice twice(root);
  EXPECT_EQ(root.multiply_adds(4), 16 + 2 * 4);
}

TEST(Module, MaterialisesInTheTypeAskedForAndMarksWhatIsTrained) {
  Root root;
  root.materialize(/*seed=*/3, {.dtype = at::kDouble});
  EXPECT_EQ((*root.scale).scalar_type(), at::kDouble);
  EXPECT_TRUE((*root.scale).eq(0.5).all().item<bool>());
  EXPECT_FALSE((*root.scale).requires_grad());  // a buffer
  EXPECT_TRUE((*root.encoder.first.weight()).requires_grad());
  root.materialize(/*seed=*/3, {}, /*gradients=*/false);
  EXPECT_FALSE((*root.encoder.first.weight()).requires_grad());
}

// Arms of a study share the weights whose names they share, whatever else their models hold.
TEST(Module, InitialWeightsDependOnSeedAndNameOnly) {
  Root one, two, other;
  one.materialize(7);
  two.materialize(7);
  other.materialize(8);
  Module small;
  Linear alone(small, "encoder.first", 4, 6);
  small.materialize(7);
  const at::Tensor value = *one.encoder.first.weight();
  EXPECT_TRUE(value.equal(*two.encoder.first.weight()));
  EXPECT_TRUE(value.equal(*alone.weight()));
  EXPECT_FALSE(value.equal(*other.encoder.first.weight()));
}

TEST(Module, TheSameSeedGivesTheSameWeightsInFloat64) {
  Root narrow, wide;
  narrow.materialize(7);
  wide.materialize(7, {.dtype = at::kDouble});
  EXPECT_TRUE(
      (*wide.encoder.first.weight()).equal((*narrow.encoder.first.weight()).to(at::kDouble)));
}

// Moments of 40,000 numbers; five deviations of the mean of normal numbers are 0.025.
TEST(Module, RandomInitsHaveTheirMoments) {
  Module root;
  Parameter xavier(root, "xavier", {100, 400}, Init::xavier_uniform(400, 100));
  Parameter normal(root, "normal", {100, 400}, Init::normal(0.02));
  root.materialize(0);
  const double bound = std::sqrt(6.0 / 500);
  EXPECT_LE((*xavier).abs().max().item<double>(), bound);
  EXPECT_NEAR((*xavier).std().item<double>(), bound / std::sqrt(3.0), 0.01 * bound);
  EXPECT_NEAR((*xavier).mean().item<double>(), 0, 0.025 * bound);
  EXPECT_NEAR((*normal).std().item<double>(), 0.02, 0.0004);
  EXPECT_NEAR((*normal).mean().item<double>(), 0, 0.0005);
}

TEST(Module, RefusesAValueOfAnotherShape) {
  Root root;
  EXPECT_THROW(root.scale.set_value(at::zeros({3, 2})), Error);
}

}  // namespace
}  // namespace gallop::nn
