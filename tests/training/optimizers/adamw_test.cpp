#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/config/parse.h"
#include "gallop/config/registry.h"
#include "gallop/training/ema.h"
#include "gallop/training/optimizer.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/training/tensors_module.h"

namespace gallop::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TensorsModule;

struct Choice : config::Fields<Choice> {
  config::Component optimizer{"optimizer", "adamw"};
  void fields(config::Visitor& v) override { v.component("optimizer", optimizer, "optimizer"); }
};

std::unique_ptr<Optimizer> adamw(nn::Module& model, const std::string& settings) {
  Choice choice;
  config::load_text(choice, "optimizer = { kind = \"adamw\", " + settings + " }", "test");
  return config::make<Optimizer>(choice.optimizer, {trainable_parameters(model)});
}

REFERENCE_TEST(AdamWCases, MoveParametersAsThePublishedOptimizer, "diffusion/adamw") {
  fixture.expect_constant("amsgrad", false);
  const int64_t steps = fixture.config().at("steps").as_int();
  const Json::Array& betas = fixture.config().at("betas").as_array();
  ASSERT_EQ(betas.size(), 2u);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const std::string& name : fixture.names_with_prefix("in.param."))
    tensors.emplace_back(name, fixture.in("param." + name));
  for (const auto& [run, settings] : fixture.config().at("runs").as_object()) {
    TensorsModule model(tensors);
    const auto optimizer =
        adamw(model, "lr = 1.0, beta1 = " + betas[0].dump() + ", beta2 = " + betas[1].dump() +
                         ", decay = " + settings.at("weight_decay").dump() +
                         ", eps = " + settings.at("eps").dump());
    const auto parameters = model.parameters();
    std::vector<at::Tensor> trajectories;
    for (const auto* parameter : parameters) {
      std::vector<int64_t> shape = parameter->shape();
      shape.insert(shape.begin(), steps);
      trajectories.push_back(at::zeros(shape));
    }
    for (int64_t step = 0; step < steps; ++step) {
      for (size_t i = 0; i < parameters.size(); ++i) {
        (**parameters[i]).mutable_grad() =
            fixture.in("grad." + tensors[i].first).select(0, step).clone();
      }
      optimizer->step(step + 1, settings.at("lr").as_array()[step].as_double(), 1);
      for (size_t i = 0; i < parameters.size(); ++i) {
        trajectories[i].select(0, step).copy_((**parameters[i]).detach());
      }
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
      fixture.expect_close(trajectories[i], "out." + run + ".param." + tensors[i].first);
    }
    for (const auto& [name, tensor] : optimizer->state()) {
      fixture.expect_close(tensor, "out." + run + "." + name);
    }
  }
  fixture.expect_all_checked();
}

// One step from zero moments moves every element with a gradient by lr against its sign: m /
// sqrt(v) = g / |g| after the bias corrections. With a tiny eps nothing else is in it.
TEST(AdamW, ReadsTheAttributesOfParameters) {
  TensorsModule model({});
  model.add("decays", at::full({1}, 2.0));
  model.add("bias", at::full({1}, 2.0), {.decay = false});
  model.add("slow", at::full({1}, 2.0), {.decay = false, .lr_scale = 0.25});
  model.add("idle", at::full({1}, 2.0));
  model.add("table", at::full({1}, 2.0), {.frozen = true});
  const auto optimizer = adamw(model, "lr = 0.5, decay = 0.1, eps = 1e-12");
  EXPECT_EQ(optimizer->learning_rate(), 0.5);
  EXPECT_EQ(optimizer->state().size(), 2 * 4);
  for (const char* name : {"decays", "bias", "slow"}) {
    (**model.find_parameter(name)).mutable_grad() = at::full({1}, 3.0);
  }
  optimizer->step(1, 0.2, 1);  // a rate of 0.1
  const auto value = [&](const char* name) {
    return (**model.find_parameter(name)).item<double>();
  };
  EXPECT_NEAR(value("decays"), 2 * (1 - 0.1 * 0.1) - 0.1, 1e-6);
  EXPECT_NEAR(value("bias"), 2 - 0.1, 1e-6);
  EXPECT_NEAR(value("slow"), 2 - 0.25 * 0.1, 1e-6);
  EXPECT_EQ(value("idle"), 2);
  EXPECT_EQ(value("table"), 2);
}

TEST(AdamW, ScalesGradientsBeforeTheMoments) {
  TensorsModule model({{"w", at::full({3}, 1.0)}});
  const auto optimizer = adamw(model, "beta1 = 0.9, beta2 = 0.99");
  (**model.find_parameter("w")).mutable_grad() = at::full({3}, 8.0);
  optimizer->step(1, 1, 0.25);
  EXPECT_NEAR(optimizer->state()[0].second[0].item<double>(), 0.1 * 2, 1e-6);
  EXPECT_NEAR(optimizer->state()[1].second[0].item<double>(), 0.01 * 4, 1e-6);
}

// The average follows in the same pass: as a step and then update_ema, also where there is no
// gradient. Warm-up begins with a small decay.
TEST(AdamW, AveragesFollowInTheSamePass) {
  for (const double decay : {0.1, 0.9, 0.999}) {
    const std::vector<std::pair<std::string, at::Tensor>> tensors = {{"w", at::full({70000}, 1.5)},
                                                                     {"idle", at::full({3}, 2.0)}};
    TensorsModule model(tensors), twin(tensors);
    TensorsModule average(tensors), twin_average(tensors);
    for (TensorsModule* m : {&average, &twin_average}) {
      for (const nn::Parameter* parameter : m->parameters()) (**parameter).detach().fill_(-1.0);
    }
    const auto optimizer = adamw(model, "lr = 0.25"), other = adamw(twin, "lr = 0.25");
    for (int64_t step = 1; step <= 3; ++step) {
      for (TensorsModule* m : {&model, &twin}) {
        (**m->find_parameter("w")).mutable_grad() =
            at::full({70000}, 3.0 - static_cast<double>(step));
      }
      optimizer->step(step, 1, 0.5, {trainable_parameters(average), decay});
      other->step(step, 1, 0.5);
      update_ema(twin, twin_average, decay);
    }
    for (const char* name : {"w", "idle"}) {
      EXPECT_TRUE((**model.find_parameter(name)).equal(**twin.find_parameter(name))) << name;
      EXPECT_TRUE(
          (**average.find_parameter(name)).allclose(**twin_average.find_parameter(name), 1e-6))
          << name << " at " << decay;
    }
    EXPECT_THAT(
        message_of([&] { optimizer->step(4, 1, 1, {{average.find_parameter("w")}, decay}); }),
        ::testing::HasSubstr("1 averages of 2 parameters"));
  }
}

TEST(AdamW, AStateGoesIntoAnotherOptimizer) {
  TensorsModule model({{"w", at::full({2, 3}, 1.0)}, {"b", at::full({3}, 1.0)}});
  TensorsModule copy({{"w", at::full({2, 3}, 1.0)}, {"b", at::full({3}, 1.0)}});
  const auto optimizer = adamw(model, "lr = 0.1"), resumed = adamw(copy, "lr = 0.1");
  const auto step = [](TensorsModule& m, Optimizer& o, int64_t n) {
    for (auto* p : m.parameters()) {
      (**p).mutable_grad() = at::full(p->shape(), 0.5 * static_cast<double>(n) - 0.7);
    }
    o.step(n, 1, 1);
  };
  step(model, *optimizer, 1);
  step(model, *optimizer, 2);
  std::map<std::string, at::Tensor> state;
  for (const auto& [name, tensor] : optimizer->state()) state.emplace(name, tensor.clone());
  for (auto* p : copy.parameters())
    (**p).detach().copy_((**model.find_parameter(p->name())).detach());
  resumed->load_state(state);
  step(model, *optimizer, 3);
  step(copy, *resumed, 3);
  for (auto* p : copy.parameters()) {
    EXPECT_TRUE((**p).equal(**model.find_parameter(p->name()))) << p->name();
  }
}

TEST(AdamW, AStateOfAnotherModelIsRefused) {
  TensorsModule model({{"w", at::full({2, 3}, 1.0)}, {"b", at::full({3}, 1.0)}});
  const auto optimizer = adamw(model, "lr = 0.1");
  std::map<std::string, at::Tensor> state{{"exp_avg.w", at::zeros({3, 2})},
                                          {"exp_avg_sq.w", at::full({2, 3}, 7.0)},
                                          {"exp_avg.b", at::zeros({3})},
                                          {"momentum.w", at::zeros({2, 3})}};
  EXPECT_THAT(message_of([&] { optimizer->load_state(state); }),
              AllOf(HasSubstr("missing:   exp_avg_sq.b"),
                    HasSubstr("misshapen: exp_avg.w: expected [2, 3], found [3, 2]"),
                    HasSubstr("unknown:   momentum.w")));
  for (const auto& [name, tensor] : optimizer->state()) {
    EXPECT_EQ(tensor.sum().item<double>(), 0) << name << " was changed";
  }
}

TEST(AdamW, MomentsThatNeverMoveAreRefused) {
  TensorsModule model({{"w", at::full({1}, 1.0)}});
  EXPECT_THAT(message_of([&] { adamw(model, "beta2 = 1.0"); }), HasSubstr("beta2 = 1"));
  EXPECT_THAT(message_of([&] { adamw(model, "momentum = 0.9"); }), HasSubstr("momentum"));
}

}  // namespace
}  // namespace gallop::training
