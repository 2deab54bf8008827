// EC-DiT, DiT-MoE and DiffMoE, layers and models, against their official code.
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "gallop/base/error.h"
#include "gallop/models/counts.h"
#include "gallop/models/denoiser.h"
#include "gallop/models/name_adapter.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/losses/scope.h"
#include "gallop/sparse/losses/sparse_loss.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;

constexpr const char* kSoftmaxMoe = "kind = \"moe\"\nrouter = \"linear\"\ngate = \"softmax\"\n";

// A case is named as in one of the two.
std::unique_ptr<NameAdapter> adapter_of(const std::map<std::string, at::Tensor>& named) {
  auto adapter = name_adapter("dit-moe");
  return has_names_of(*adapter, named) ? std::move(adapter) : name_adapter("diffmoe");
}

// `prefix` is what the official names lack in a file of one layer.
std::map<std::string, at::Tensor> weights_of(const Fixture& fixture, const std::string& prefix) {
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, tensor] : fixture.with_prefix("weight.")) named[prefix + name] = tensor;
  const auto adapter = adapter_of(named);
  return with_our_names(*adapter, std::move(named));
}

void expect_gradients(const Fixture& fixture, const nn::Module& module, const std::string& prefix) {
  for (const auto& [name, tensor] : fixture.with_prefix("grad.")) {
    if (name == "x") continue;
    const auto adapter = adapter_of({{prefix + name, tensor}});
    const OurName ours = adapter->our_name(prefix + name).value_or(OurName{prefix + name, {}});
    const nn::Parameter* parameter = module.find_parameter(ours.name);
    ASSERT_NE(parameter, nullptr) << ours.name;
    const at::Tensor gradient = testing::gradient_of(*parameter);
    fixture.expect_close(ours.expert ? gradient[*ours.expert] : gradient, "grad." + name);
  }
}

// One sparse layer with the weights of a reference case.
class Layer {
 public:
  Layer(const Fixture& fixture, const std::string& prefix, const std::string& toml)
      : fixture_(fixture), prefix_(prefix) {
    const Json& config = fixture.config();
    std::ostringstream settings;
    settings << "experts = " << config.at("E").as_int() << "\n" << toml;
    layer_ = testing::make<nn::FeedForward>(settings.str(), {.parent = &root,
                                                             .D = config.at("D").as_int(),
                                                             .tokens = config.at("L").as_int(),
                                                             .layers = 1});
    testing::load(root, weights_of(fixture, prefix));
  }
  at::Tensor forward(const at::Tensor& x_BLD, bool training) {
    std::vector<sparse::RoutingRecord> records;
    const at::Tensor y_BLD = layer_->forward(x_BLD, {.training = training, .routing = &records});
    record = std::move(records.at(0));
    return y_BLD;
  }
  /// A training forward, the losses under the names out.<kind>, and the gradients of all.
  void check_training(const std::string& loss_name) {
    const at::Tensor x = fixture_.in("x").clone().set_requires_grad(true);
    const at::Tensor y = forward(x, /*training=*/true);
    fixture_.expect_close(y, "out.y");
    at::Tensor loss = y.mul(fixture_.in("cotangent")).sum();
    for (const auto& part : *record.losses) {
      const at::Tensor value = part->value(record, {}).mul(part->weight());
      fixture_.expect_close(value, loss_name);
      loss = loss.add(value);
    }
    if (fixture_.has("out.loss")) fixture_.expect_close(loss, "out.loss");
    loss.backward();
    fixture_.expect_close(x.grad(), "grad.x");
    expect_gradients(fixture_, root, prefix_);
  }

  nn::Module root;
  sparse::RoutingRecord record;  ///< of the last forward

 private:
  const Fixture& fixture_;
  std::string prefix_;
  std::unique_ptr<nn::FeedForward> layer_;
};

REFERENCE_TEST(EcDitCases, LayerMatchesTheReference, "moe/ec_dit") {
  fixture.expect_constant("activation", "gelu_tanh");
  const Json& config = fixture.config();
  Layer layer(fixture, "mlp.",
              std::string(kSoftmaxMoe) + "active = " + config.at("capacity").dump() +
                  "\nhidden = " + std::to_string(config.at("hidden").as_int()) +
                  "\nselection = \"expert\"");
  layer.check_training("");
  fixture.expect_close(layer.record.kept.mask_BLE(), "out.mask");
  fixture.expect_close(layer.record.kept.weights_BLE(), "out.weight");
  // Every expert takes floor(L / E * capacity) tokens of each sample.
  EXPECT_TRUE(layer.record.kept.mask_BLE()
                  .sum(1)
                  .eq(config.at("K_per_expert").as_int())
                  .all()
                  .item<bool>());
  // The same rule at inference, for a sample alone too.
  const int64_t last = fixture.in("x").size(0) - 1;
  const at::Tensor one = fixture.in("x").narrow(0, last, 1);
  const at::Tensor alone = layer.forward(one, /*training=*/false);
  testing::expect_close(alone, fixture.out("y").narrow(0, last, 1), fixture.rtol(), fixture.atol(),
                        "a sample alone");
  fixture.expect_all_checked();
}

std::string dit_moe_experts(const Json& config) {
  std::ostringstream toml;
  toml << "hidden = " << config.at("expert_hidden").as_int()
       << "\nselection = \"token\"\nexpert = { kind = \"shared\", routed = \"glu\", shared = "
          "\"glu\", hidden = "
       << config.at("shared_hidden").as_int()
       << " }\nlosses = { balance = { weight = " << config.at("aux_alpha").dump() << " } }\n";
  return toml.str();
}

REFERENCE_TEST(DitMoeCases, LayerMatchesTheReference, "moe/dit_moe") {
  Layer layer(fixture, "moe.",
              std::string(kSoftmaxMoe) +
                  "active = " + std::to_string(fixture.config().at("k").as_int()) + "\n" +
                  dit_moe_experts(fixture.config()));
  layer.check_training("out.aux_loss");
  fixture.expect_close(layer.record.kept.mask_BLE().flatten(0, 1), "out.mask");
  fixture.expect_close(layer.record.kept.weights_BLE().flatten(0, 1), "out.weight");
  fixture.expect_close(layer.record.kept.loads(), "out.loads");
  fixture.expect_all_checked();
}

std::string dit_of(const Json& config) {
  std::ostringstream toml;
  toml << "kind = \"dit\"\ndepth = " << config.at("depth").as_int()
       << "\nwidth = " << config.at("hidden_size").as_int()
       << "\nheads = " << config.at("num_heads").as_int()
       << "\npatch = " << config.at("patch_size").as_int() << "\n";
  return toml.str();
}

Denoiser::Args input_of(const Json& config) {
  const int64_t side = config.at("input_size").as_int();
  return {.channels = config.at("in_channels").as_int(),
          .height = side,
          .width = side,
          .classes = config.at("num_classes").as_int(),
          .predicts_sigma = config.at("learn_sigma").as_bool()};
}

// What a file stores of sparse layer `i` of `layers`: stacked over them, or of the only one.
at::Tensor of_layer(const at::Tensor& stored, size_t i, size_t layers, int64_t dim) {
  if (stored.dim() == dim && layers == 1) return stored;
  require(stored.dim() == dim + 1 && stored.size(0) == static_cast<int64_t>(layers),
          "the case stores a value of ", stored.dim(), " dimensions for ", layers,
          " sparse layers");
  return stored[static_cast<int64_t>(i)];
}

// Output, losses and every gradient of a training step on x_t, whose target is a velocity.
void check_model(const Fixture& fixture, const Denoiser& model, const at::Tensor& x,
                 const at::Tensor& x_t, const at::Tensor& t, const at::Tensor& target,
                 const std::string& loss_name, std::vector<sparse::RoutingRecord>& routing) {
  const at::Tensor output = model.forward(
      x_t, {.training = true, .timestep_B = t, .label_B = fixture.in("y"), .routing = &routing});
  fixture.expect_close(output, "out.output");
  const at::Tensor mse = output.narrow(1, 0, x.size(1)).sub(target).square().mean();
  fixture.expect_close(mse, "out.mse");
  at::Tensor loss = mse;
  for (size_t i = 0; i < routing.size(); ++i) {
    for (const auto& part : *routing[i].losses) {
      const at::Tensor value = part->value(routing[i], {}).mul(part->weight());
      fixture.expect_close(value, of_layer(fixture.tensor(loss_name), i, routing.size(), 0),
                           loss_name);
      loss = loss.add(value);
    }
  }
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  expect_gradients(fixture, model, "");
}

REFERENCE_TEST(DitMoeCases, ModelMatchesTheReference, "moe/dit_moe_model") {
  const Json& config = fixture.config();
  const auto model = testing::make<Denoiser>(
      dit_of(config) + "[part.mlp]\n" + kSoftmaxMoe +
          "experts = " + std::to_string(config.at("num_experts").as_int()) +
          "\nactive = " + std::to_string(config.at("num_experts_per_tok").as_int()) + "\n" +
          dit_moe_experts(config),
      input_of(config));
  testing::load(*model, weights_of(fixture, ""));

  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const at::Tensor noise = fixture.in("noise"), t = fixture.in("t_normal").sigmoid();
  fixture.expect_close(t, "out.t");
  const at::Tensor t_B111 = t.reshape({-1, 1, 1, 1});
  const at::Tensor x_t = x.mul(1 - t_B111).add(noise.mul(t_B111));
  fixture.expect_close(x_t, "out.x_t");
  std::vector<sparse::RoutingRecord> routing;
  check_model(fixture, *model, x, x_t, t, noise.sub(x), "out.aux_loss", routing);
  EXPECT_EQ(static_cast<int64_t>(routing.size()), config.at("depth").as_int());
  fixture.expect_all_checked();
}

// Table of DiT-MoE, in millions: S/2-8E2A 199 and 71, B/2-8E2A 795 and 286. One expert is a SwiGLU
// of hidden 4 D, what all tokens share one of 2 D.
TEST(DitMoe, CountsAreThoseOfThePaper) {
  const auto count_of = [](const std::string& size, int64_t D) {
    return count(*testing::make<Denoiser>(
        "kind = \"dit\"\nsize = \"" + size +
            "\"\n[part.mlp]\nkind = \"moe\"\nsetting = \"2-in-8\"\nrouter = \"linear\"\nhidden = " +
            std::to_string(4 * D) +
            "\nexpert = { kind = \"shared\", routed = \"glu\", shared = \"glu\", hidden = " +
            std::to_string(2 * D) + " }",
        {.channels = 4, .height = 32, .width = 32, .classes = 1000, .predicts_sigma = true}));
  };
  const Counts small = count_of("S/2", 384), base = count_of("B/2", 768);
  EXPECT_EQ(small.paper_total, 12 * (112 * 384 * 384 + 8 * 384));
  EXPECT_NEAR(static_cast<double>(small.total) / 1e6, 199, 0.5);
  EXPECT_NEAR(static_cast<double>(base.total) / 1e6, 795, 1);
  EXPECT_NEAR(small.active / 1e6, 71, 1);
  EXPECT_NEAR(base.active / 1e6, 286, 1);
}

constexpr const char* diffmoe =
    "kind = \"moe\"\nrouter = \"linear\"\ngate = \"softmax\"\nselection.kind = \"diffmoe\"\n";

REFERENCE_TEST(DiffMoeCases, LayerMatchesTheReference, "moe/diffmoe_block") {
  fixture.expect_constant("activation", "gelu_tanh");
  fixture.expect_constant("predictor_activation", "silu");
  const Json& config = fixture.config();
  std::ostringstream toml;
  toml << diffmoe << "active = " << config.at("capacity").dump()
       << "\nhidden = " << config.at("hidden").as_int()
       << "\nselection.momentum = " << config.at("ema_decay").dump()
       << "\nlosses = { capacity = { weight = 1 } }\n";
  if (config.at("n_shared_experts").as_int() > 0) {
    toml << "expert = { kind = \"shared\", count = " << config.at("n_shared_experts").as_int()
         << ", hidden = " << config.at("shared_hidden").as_int() << " }\n";
  }
  Layer layer(fixture, "mlp.", toml.str());
  layer.check_training("out.capacity_loss");
  fixture.expect_close(layer.record.kept.mask_BLE(), "out.mask");
  fixture.expect_close(layer.record.gate_BLE, "out.scores");
  fixture.expect_close(layer.record.extra("capacity"), "out.capacity_logits");
  EXPECT_TRUE(layer.record.kept.loads().eq(config.at("K_per_expert").as_int()).all().item<bool>());

  nn::Parameter& threshold = *layer.root.find_parameter("moe.router.threshold");
  for (const sparse::PendingUpdate& update : layer.record.pending) update.commit(0);
  fixture.expect_close(*threshold, "out.expert_threshold");
  threshold->copy_(fixture.in("infer_threshold"));
  const at::Tensor inferred = layer.forward(fixture.in("x"), /*training=*/false);
  fixture.expect_close(layer.record.kept.loads(), "out.infer.counts");
  fixture.expect_close(inferred, "out.infer.y");
  EXPECT_TRUE(layer.record.pending.empty());
  fixture.expect_all_checked();
}

std::string diffmoe_of(const Json& config) {
  const Json& moe = config.at("MoE");
  const auto hidden = static_cast<int64_t>(config.at("mlp_ratio").as_double() *
                                           static_cast<double>(config.at("hidden_size").as_int()));
  std::ostringstream toml;
  toml << dit_of(config) << "mlp_every = " << (moe.at("interleave").as_bool() ? 2 : 1)
       << "\n[part.mlp]\n"
       << diffmoe << "experts = " << moe.at("num_experts").as_int()
       << "\nactive = " << moe.at("capacity").dump() << "\nhidden = " << hidden
       << "\nlosses = { capacity = { weight = " << config.at("capacity_loss_weight").dump()
       << " } }\n[part.other_mlp]\nkind = \"dense\"\nhidden = " << hidden << "\n";
  return toml.str();
}

REFERENCE_TEST(DiffMoeCases, ModelMatchesTheReference, "moe/diffmoe_model") {
  ASSERT_EQ(fixture.config().at("MoE").at("n_shared_experts").as_int(), 0)
      << "how wide shared experts of a model are, its config does not say";
  const auto model =
      testing::make<Denoiser>(diffmoe_of(fixture.config()), input_of(fixture.config()));
  testing::load(*model, weights_of(fixture, ""));

  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const at::Tensor noise = fixture.in("noise"), t = fixture.in("t");
  const at::Tensor t_B111 = t.reshape({-1, 1, 1, 1});
  const at::Tensor x_t = x.mul(t_B111).add(noise.mul(1 - t_B111));
  std::vector<sparse::RoutingRecord> routing;
  check_model(fixture, *model, x, x_t, t, x.sub(noise), "out.capacity_loss", routing);
  const auto expect = [&](const at::Tensor& got, const std::string& name, size_t i) {
    fixture.expect_close(got, of_layer(fixture.tensor(name), i, routing.size(), got.dim()), name);
  };
  for (size_t i = 0; i < routing.size(); ++i) {
    expect(routing[i].kept.mask_BLE(), "out.mask", i);
    expect(routing[i].extra("capacity"), "out.capacity_logits", i);
    for (const sparse::PendingUpdate& update : routing[i].pending) update.commit(0);
    expect(**model->find_parameter(routing[i].layer + ".router.threshold"), "out.expert_threshold",
           i);
  }
  fixture.expect_all_checked();
}

TEST(DiffMoe, RefusesWhatItCannotBe) {
  const auto error = [](const std::string& toml) {
    return testing::message_of([&] {
      testing::make<Denoiser>(
          "kind = \"dit\"\ndepth = 2\nwidth = 8\nheads = 2\npatch = 2\nmlp = { kind = "
          "\"moe\", router = \"linear\", gate = \"softmax\", selection = \"diffmoe\" }",
          {.channels = 1, .height = 8, .width = 8}, {toml});
    });
  };
  EXPECT_EQ(error("mlp.active=2"), "no error");
  EXPECT_THAT(error("mlp.active=9"), HasSubstr("9 active experts of 8"));
  EXPECT_THAT(error("mlp_every=3"), HasSubstr("mlp_every = 3 is more than the 2 blocks"));
}

// A batch without a sample; tokens of a batch compete, and what they predict says how many win.
REFERENCE_TEST(DiffMoeCases, EmptyBatchesAndUnusedExperts, "moe/diffmoe_block") {
  const Json& config = fixture.config();
  if (config.at("n_shared_experts").as_int() > 0)
    testing::leave_out("its shared experts are always used");
  Layer layer(fixture, "mlp.",
              std::string(diffmoe) + "active = " + config.at("capacity").dump() +
                  "\nhidden = " + config.at("hidden").dump() + "\n");
  const at::Tensor none = fixture.in("x").narrow(0, 0, 0);
  EXPECT_EQ(layer.forward(none, /*training=*/true).sizes(), none.sizes());
  EXPECT_TRUE(layer.record.pending.empty());
  nn::Parameter& threshold = *layer.root.find_parameter("moe.router.threshold");
  threshold->fill_(1);  // nothing predicts more
  EXPECT_TRUE(layer.forward(fixture.in("x"), /*training=*/false).eq(0).all().item<bool>());
  threshold->fill_(0);  // everything does
  layer.forward(fixture.in("x"), /*training=*/false);
  EXPECT_TRUE(layer.record.kept.mask_BLE().all().item<bool>());
}

}  // namespace
}  // namespace gallop::models
