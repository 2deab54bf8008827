#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "gallop/config/parse.h"
#include "gallop/config/registry.h"
#include "gallop/ops/adamw.h"
#include "gallop/ops/kernel.h"
#include "gallop/training/optimizer.h"
#include "tests/support/errors.h"
#include "tests/training/tensors_module.h"

namespace gallop::training {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TensorsModule;

constexpr double unknown = std::numeric_limits<double>::infinity();

struct Choice : config::Fields<Choice> {
  config::Component optimizer{"optimizer", "adamw"};
  void fields(config::Visitor& v) override { v.component("optimizer", optimizer, "optimizer"); }
};

std::unique_ptr<Optimizer> adamw(nn::Module& model, const std::string& settings) {
  Choice choice;
  config::load_text(choice, "optimizer = { kind = \"adamw\", " + settings + " }", "test");
  return config::make<Optimizer>(choice.optimizer, {trainable_parameters(model)});
}

// Two groups, since biases do not decay, and a parameter without a gradient.
class Refusal : public ::testing::TestWithParam<bool> {
 protected:
  Refusal() {
    for (TensorsModule* module : {&model_, &average_}) {
      module->add("w", at::full({40}, 1.0));
      module->add("bias", at::full({5}, 1.0), {.decay = false});
      module->add("idle", at::full({5}, 1.0));
    }
  }
  void set_gradient(const char* name, double value) {
    const auto& parameter = *model_.find_parameter(name);
    (*parameter).mutable_grad() = at::full(parameter->sizes(), value);
  }
  std::vector<at::Tensor> state(const Optimizer& optimizer) const {
    std::vector<at::Tensor> all;
    for (const TensorsModule* module : {&model_, &average_}) {
      for (const auto* parameter : module->parameters())
        all.push_back((**parameter).detach().clone());
    }
    for (const auto& [name, tensor] : optimizer.state()) all.push_back(tensor.clone());
    return all;
  }
  std::string take(Optimizer& optimizer, int64_t applied, double factor, double norm) {
    return optimizer.take({.applied = applied,
                           .factor = factor,
                           .gradient_norm = norm,
                           .averages = {trainable_parameters(average_), 0.5}});
  }
  static void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << i;
  }

  TensorsModule model_{{}}, average_{{}};
};

// The first step, and one between good ones: nothing changes, the next good one goes on.
TEST_P(Refusal, OfAStepThatWouldLeaveTheRangeOfFloat32) {
  std::optional<ops::ReferenceGuard> reference;
  if (GetParam()) reference.emplace();
  const double norm = std::sqrt(45.0);
  for (const double known : {norm, unknown}) {
    const auto optimizer = adamw(model_, "lr = 1e-3");
    for (int64_t applied = 1; applied <= 3; ++applied) {
      const auto before = state(*optimizer);
      for (const char* name : {"w", "bias"}) set_gradient(name, 1);
      EXPECT_THAT(take(*optimizer, applied, 3e41, known), AnyOf("w", "bias"));
      expect_equal(state(*optimizer), before);
      EXPECT_EQ(take(*optimizer, applied, 1, known), "");
      EXPECT_FALSE((**model_.find_parameter("w")).equal(before[0]));
    }
  }
}

// Its square is what overflows, though the weights would stay as they are.
TEST_P(Refusal, OfAGradientWhoseMomentsOverflow) {
  std::optional<ops::ReferenceGuard> reference;
  if (GetParam()) reference.emplace();
  const auto optimizer = adamw(model_, "lr = 1e-3");
  set_gradient("w", 1);
  set_gradient("bias", 1e25);
  const auto before = state(*optimizer);
  EXPECT_EQ(take(*optimizer, 1, 1, 5e25), "bias");
  expect_equal(state(*optimizer), before);  // of both groups
}

INSTANTIATE_TEST_SUITE_P(KernelAndReference, Refusal, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "reference" : "kernel"; });

// A look at the step before it is taken changes no bit of it.
TEST(AdamWRefusal, GoodStepsAreThoseOfTheOperator) {
  const at::Tensor start = at::full({1000}, 0.5), gradient = at::full({1000}, 0.125);
  TensorsModule looked_at({{"w", start}}), plain({{"w", start}});
  const auto first = adamw(looked_at, "lr = 0.01");
  ops::AdamWTensors twin{start.clone(), gradient, at::zeros({1000}), at::zeros({1000}), {}};
  for (int64_t step = 1; step <= 5; ++step) {
    (**looked_at.find_parameter("w")).mutable_grad() = gradient.clone();
    // Without a norm every step is tried first.
    EXPECT_EQ(first->take({.applied = step}), "");
    ops::adamw_step({twin}, {.step = step, .rate = 0.01});
    EXPECT_TRUE((**looked_at.find_parameter("w")).equal(twin.value)) << step;
  }
}

TEST(AdamWRefusal, WeightsThatSomethingElseRuinedEndTheRun) {
  TensorsModule model({{"w", at::full({10}, 1.0)}});
  const auto optimizer = adamw(model, "lr = 0.01");
  const auto& w = **model.find_parameter("w");
  const auto gradient = [&] { w.mutable_grad() = at::full({10}, 1.0); };
  gradient();
  EXPECT_EQ(optimizer->take({.applied = 1, .gradient_norm = 4}), "");
  w.detach().fill_(std::nan(""));
  gradient();
  EXPECT_THAT(message_of([&] { optimizer->take({.applied = 2, .gradient_norm = 4}); }),
              HasSubstr("something else wrote to them"));
}

TEST(AdamWRefusal, SettingsThatCannotWork) {
  TensorsModule model({{"w", at::full({1}, 1.0)}});
  const auto error = [&](const std::string& settings) {
    return message_of([&] { adamw(model, settings); });
  };
  EXPECT_THAT(error("eps = 0"), AllOf(HasSubstr("eps"), HasSubstr("> 0")));
  EXPECT_THAT(error("eps = -1e-8"), HasSubstr("eps"));
  EXPECT_THAT(error("eps = 1e-60"), HasSubstr("0 in float32"));
  EXPECT_THAT(error("beta1 = 1.0"), HasSubstr("below 1"));
  EXPECT_THAT(error("beta2 = 1.0"), HasSubstr("below 1"));
  EXPECT_THAT(error("lr = 0.5, decay = 3.0"), AllOf(HasSubstr("takes 1.5"), HasSubstr("1 / lr")));
  EXPECT_EQ(error("lr = 0.5, decay = 2.0"), "no error");
  EXPECT_EQ(error("lr = 0.5, eps = 1e-40"), "no error");
}

}  // namespace
}  // namespace gallop::training
