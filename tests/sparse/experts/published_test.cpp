// Feed-forward layers of published models that are sparse layers or single experts here.
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/layers/experts.h"
#include "gallop/sparse/losses/scope.h"
#include "tests/support/fixture.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

// One expert for all tokens is a feed-forward layer.
REFERENCE_TEST(FeedForwardCases, OneExpertMatchesTheReference, "activation/ffn") {
  const Json& config = fixture.config();
  const std::string& kind = config.at("kind").as_string();
  const std::map<std::string, std::string> ours = {
      {"relu", "mlp\"\nactivation = \"relu"},      {"silu", "mlp\"\nactivation = \"silu"},
      {"gelu_tanh", "mlp\"\nactivation = \"gelu"}, {"swiglu", "glu\"\nactivation = \"silu"},
      {"reglu", "glu\"\nactivation = \"relu"},     {"geglu_tanh", "glu\"\nactivation = \"gelu"}};
  if (!ours.contains(kind)) testing::leave_out("no expert has the activation " + kind);
  const auto our_name = [](const std::string& theirs) {
    if (theirs == "ff_proj.weight") return std::string("experts.fc1.weight");
    return "experts." + (theirs == "ff_out.weight" ? std::string("fc2.weight") : theirs);
  };
  nn::Module root;
  const auto expert = testing::make<Experts>("kind = \"" + ours.at(kind) + "\"\nbias = false",
                                             {.parent = &root,
                                              .D = config.at("d_model").as_int(),
                                              .experts = 1,
                                              .hidden = config.at("ffn").as_int(),
                                              .active = 1});
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, tensor] : fixture.with_prefix("weight."))
    weights[our_name(name)] = tensor.unsqueeze(0);
  testing::load(root, weights);

  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const at::Tensor all = at::ones({1, x.size(0) * x.size(1), 1});
  const at::Tensor y = expert
                           ->forward(x.flatten(0, 1), keep(Pairs::of_mask(all.to(at::kBool)), all),
                                     {.training = true})
                           .reshape(x.sizes());
  fixture.expect_close(y, "out.y");
  const at::Tensor loss = y.mul(fixture.in("cotangent")).sum();
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  for (const auto& [name, tensor] : fixture.with_prefix("weight.")) {
    fixture.expect_close(testing::gradient_of(*root.find_parameter(our_name(name)))[0],
                         "grad." + name);
  }
  fixture.expect_all_checked(fixture.has("out.hidden") ? std::set<std::string>{"out.hidden"}
                                                       : std::set<std::string>{});
}

// A frozen random router; the same weights serve with any number of experts a token.
REFERENCE_TEST(SmoeDropoutCases, LayerMatchesTheReference, "experts/smoe_dropout_layer") {
  const Json& config = fixture.config();
  const std::map<std::string, std::string> names = {
      {"moe.router.gate.weight", "gate.weight"}, {"moe.router.gate.bias", "gate.bias"},
      {"moe.experts.fc1.weight", "w1"},          {"moe.experts.fc1.bias", "b1"},
      {"moe.experts.fc2.weight", "w2"},          {"moe.experts.fc2.bias", "b2"}};
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  std::map<std::string, at::Tensor> gradients;
  for (const Json& k : config.at("ks").as_array()) {
    nn::Module root;
    const auto layer = testing::make<nn::FeedForward>(
        "kind = \"moe\"\ngate = \"identity\"\nweights = \"softmax\"\nselection = \"token\"\n"
        "router = { kind = \"linear\", bias = true, frozen = true }\n"
        "expert = { kind = \"mlp\", activation = \"relu\" }\nexperts = " +
            config.at("E").dump() + "\nactive = " + k.dump() +
            "\nhidden = " + config.at("hidden").dump(),
        {.parent = &root, .D = config.at("D").as_int(), .tokens = x.size(0), .layers = 1});
    std::map<std::string, at::Tensor> weights;
    for (const auto& [ours, theirs] : names) weights[ours] = fixture.weight(theirs);
    testing::load(root, weights);
    std::vector<RoutingRecord> records;
    const at::Tensor y = layer->forward(x.unsqueeze(0), {.training = true, .routing = &records})[0];
    fixture.expect_close(y, "out.y_k" + k.dump());
    fixture.expect_close(records.at(0).kept.weights_BLE()[0], "out.weight_k" + k.dump());
    y.mul(fixture.in("cotangent_y_k" + k.dump())).sum().backward();
    for (const auto& [ours, theirs] : names) {
      const nn::Parameter& parameter = *root.find_parameter(ours);
      if (!parameter.trainable()) continue;
      const at::Tensor gradient = testing::gradient_of(parameter);
      at::Tensor& sum = gradients[theirs];
      sum = sum.defined() ? sum + gradient : gradient;
    }
  }
  fixture.expect_close(x.grad(), "grad.x");
  for (const auto& [name, gradient] : gradients) fixture.expect_close(gradient, "grad." + name);
  fixture.expect_all_checked();
}

}  // namespace
}  // namespace gallop::sparse
