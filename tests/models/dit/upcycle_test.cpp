#include "gallop/models/dit/upcycle.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/models/weights.h"
#include "gallop/sparse/choice/routing_record.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using ::gallop::testing::message_of;
using ::gallop::testing::random_normal;
using ::gallop::testing::tensor_of;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

// The sparse twin of a dense model: width 16, two blocks, an MLP of 64 hidden units.
class Upcycle : public ::testing::Test {
 protected:
  Upcycle() {
    dense->materialize(/*seed=*/0);
    for (nn::Parameter* parameter : dense->parameters()) {
      if (!parameter->trainable()) continue;
      parameter->set_value(random_normal(parameter->shape(), parameter->name()).mul(0.3));
    }
  }
  static std::unique_ptr<Denoiser> model_of(const std::string& mlp) {
    return ::gallop::testing::make<Denoiser>(
        "kind = \"dit\"\ndepth = 2\nwidth = 16\nheads = 2\npatch = 4\nmlp = " + mlp,
        {.channels = 1, .height = 28, .width = 28, .classes = 10, .predicts_sigma = false});
  }
  std::unique_ptr<Denoiser> twin(const std::string& mlp) const {
    auto model = model_of("{ kind = \"moe\", " + mlp + " }");
    model->materialize(7);
    return model;
  }
  Upcycled upcycled(Denoiser& model, double noise = 0.1) const {
    return upcycle(model, dense_weights(), noise);
  }
  std::map<std::string, at::Tensor> dense_weights() const {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [name, tensor] : named_tensors(*dense)) tensors.emplace(name, tensor);
    return tensors;
  }
  // Compares with what the dense model gives.
  void expect_dense_function(const Denoiser& model) const {
    const nn::ForwardContext ctx{.timestep_B = t, .label_B = y};
    ::gallop::testing::expect_close(model.forward(x, ctx), dense->forward(x, ctx), 1e-4, 1e-4,
                                    "output");
  }
  std::string error_for(const std::string& mlp) const {
    return message_of([&] { upcycled(*twin(mlp)); });
  }

  const std::unique_ptr<Denoiser> dense = model_of("\"dense\"");
  const at::Tensor x = random_normal({2, 1, 28, 28}, "x"), t = tensor_of({77, 812}),
                   y = tensor_of({3, 10}).to(at::kLong);
};

constexpr const char* kToken = "selection = \"token\", ";

TEST_F(Upcycle, AllCopiesUnderSoftmaxAreTheDenseModel) {
  const auto model =
      twin(std::string(kToken) + "setting = \"3-in-3\", split = 1, gate = \"softmax\"");
  const Upcycled result = upcycled(*model);
  ASSERT_EQ(result.layers.size(), 2u);
  EXPECT_EQ(result.layers[1].name, "blocks.1.moe");
  EXPECT_EQ(result.layers[1].copies, 3);
  EXPECT_EQ(result.layers[1].parts, 1);
  EXPECT_EQ(result.layers[1].constant, 0);
  EXPECT_EQ(result.layers[1].out_scale, 1);
  EXPECT_THAT(result.fresh, Each(HasSubstr(".moe.router.")));
  EXPECT_EQ(result.fresh.size(), 8u);  // hidden and gate, weight and bias, of two layers
  expect_dense_function(*model);
}

TEST_F(Upcycle, AllPartsUnderTheIdentityGateAreTheDenseModel) {
  const auto model = twin(std::string(kToken) + "setting = \"4-in-4\"");
  const Upcycled result = upcycled(*model, 0);
  EXPECT_EQ(result.layers[0].parts, 4);
  EXPECT_EQ(result.layers[0].copies, 1);
  EXPECT_EQ(result.layers[0].constant, 1);
  expect_dense_function(*model);
}

TEST_F(Upcycle, SomeCopiesUnderTheIdentityGateStartAtOneOverK) {
  const auto model = twin(std::string(kToken) + "setting = \"2-in-5\", split = 1");
  const Upcycled result = upcycled(*model, 0);
  EXPECT_EQ(result.layers[0].copies, 5);
  EXPECT_EQ(result.layers[0].constant, 0.5);
  expect_dense_function(*model);
}

// Parts share their scores, so each token takes all parts of one copy: also where tokens differ.
TEST_F(Upcycle, PartsOfACopyAreTakenTogether) {
  for (const char* weights : {"gate", "softmax"}) {
    const auto model =
        twin(std::string(kToken) + "setting = \"4-in-12\", gate = \"softmax\", weights = \"" +
             weights + "\"");
    const Upcycled result = upcycled(*model, weights == std::string("gate") ? 0 : 1);
    EXPECT_EQ(result.layers[0].parts, 4);
    EXPECT_EQ(result.layers[0].copies, 3);
    // Softmax over all gives each of the 12 a weight of 1/12; softmax over the chosen, 1/4.
    EXPECT_NEAR(result.layers[0].out_scale, weights == std::string("gate") ? 12 : 4, 1e-4);
    expect_dense_function(*model);
  }
}

TEST_F(Upcycle, OtherGatesAreMadeUpForByTheLastLayer) {
  const auto model = twin(std::string(kToken) + "setting = \"1-in-2\", gate = \"sigmoid\"");
  const Upcycled result = upcycled(*model, 0);
  EXPECT_EQ(result.layers[0].constant, 0);
  EXPECT_NEAR(result.layers[0].out_scale, 2, 1e-6);
  expect_dense_function(*model);
}

// A selection that drops pairs while all scores are equal must not look like small weights.
TEST_F(Upcycle, DroppedPairsDoNotCount) {
  const auto model = twin(
      "setting = \"1-in-4\", gate = \"softmax\", selection = { kind = \"capacity\", factor = 1 }");
  EXPECT_NEAR(upcycled(*model).layers[0].out_scale, 4, 1e-4);
}

TEST_F(Upcycle, RaceStartsNearTheDenseModelOnAverage) {
  const auto model = twin("setting = \"2-in-8\", selection = \"race\"");
  const Upcycled result = upcycled(*model);
  EXPECT_EQ(result.layers[0].parts, 2);
  EXPECT_EQ(result.layers[0].constant, 1);
  std::vector<sparse::RoutingRecord> routing;
  model->forward(x, {.training = true, .timestep_B = t, .label_B = y, .routing = &routing});
  for (const sparse::RoutingRecord& record : routing) {
    EXPECT_EQ(record.kept.count(), 2 * 2 * 49);
    // The tokens, and the copies, are told apart; the parts of a copy are not yet.
    const at::Tensor logits_BLE = record.logits_BLE.detach();
    // The best quarter of normal scores lies 1.27 deviations above their mean.
    EXPECT_NEAR(record.kept.weights_P.mean().item<double>(), 1,
                1.5 * logits_BLE.std().item<double>());
    EXPECT_TRUE(at::equal(logits_BLE.select(-1, 2), logits_BLE.select(-1, 3)));
    EXPECT_FALSE(at::equal(logits_BLE.select(-1, 1), logits_BLE.select(-1, 2)));
    EXPECT_GT(logits_BLE.std().item<double>(), 0.001);
    EXPECT_LT(logits_BLE.std().item<double>(), 0.3);
  }
}

TEST_F(Upcycle, AnExpertIsAPieceOfTheHiddenUnits) {
  const auto model = twin(std::string(kToken) + "setting = \"2-in-4\"");
  upcycled(*model);
  const auto of = [&](const char* name) {
    return (**model->find_parameter(std::string("blocks.1.moe.experts.") + name)).detach();
  };
  const auto weight = [&](const char* name) {
    return (**dense->find_parameter(std::string("blocks.1.mlp.") + name)).detach();
  };
  // Expert 3 is the second half of the second copy.
  EXPECT_TRUE(at::equal(of("fc1.weight")[3], weight("fc1.weight").narrow(0, 32, 32)));
  EXPECT_TRUE(at::equal(of("fc1.bias")[3], weight("fc1.bias").narrow(0, 32, 32)));
  EXPECT_TRUE(at::equal(of("fc2.weight")[3], weight("fc2.weight").narrow(1, 32, 32)));
  EXPECT_TRUE(at::equal(of("fc2.bias")[3], weight("fc2.bias").div(2)));
  EXPECT_TRUE(at::equal(of("fc1.weight")[0], weight("fc1.weight").narrow(0, 0, 32)));
}

TEST_F(Upcycle, RefusesWhatCannotBeMade) {
  EXPECT_THAT(error_for("setting = \"2-in-4\", hidden = 48"),
              AllOf(HasSubstr("blocks.0.moe"), HasSubstr("width 48"), HasSubstr("width 64")));
  EXPECT_THAT(error_for("setting = \"2-in-5\""), HasSubstr("5 experts are no whole copies"));
  EXPECT_THAT(error_for("setting = \"2-in-4\", router = \"linear\""),
              AllOf(HasSubstr("weight 0"), HasSubstr("router = \"mlp\"")));
  EXPECT_THAT(error_for("setting = \"2-in-4\", expert = \"glu\""), HasSubstr("nothing to upcycle"));
  EXPECT_THAT(error_for("setting = \"2-in-4\", expert = { kind = \"mlp\", bias = false }"),
              HasSubstr("unexpected: blocks.0.moe.experts.fc1.bias"));
  EXPECT_THAT(error_for("setting = \"2-in-4\", expert = \"shared\""),
              HasSubstr("missing:    blocks.0.moe.shared.fc1.weight"));

  const auto model = twin("setting = \"2-in-4\"");
  auto some = dense_weights();
  some.erase("blocks.1.mlp.fc2.bias");
  EXPECT_THAT(message_of([&] { upcycle(*model, some, 0.1); }),
              HasSubstr("no 'blocks.1.mlp.fc2.bias'"));
  some = dense_weights();
  some.erase("final_layer.linear.bias");
  EXPECT_THAT(message_of([&] { upcycle(*model, some, 0.1); }),
              HasSubstr("missing:    final_layer.linear.bias"));
  EXPECT_THAT(message_of([&] { upcycle(*model, dense_weights(), -1); }),
              HasSubstr("router noise of -1"));
}

}  // namespace
}  // namespace gallop::models
