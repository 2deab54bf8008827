#include "gallop/models/dit/dit.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/diffusion/guidance.h"
#include "gallop/models/counts.h"
#include "gallop/models/dit/patches.h"
#include "gallop/models/weights.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::random_normal;
using testing::tensor_of;

std::unique_ptr<Denoiser> model_of(const Json& config) {
  const bool sit = config.at("kind").as_string() == "SiT";
  std::ostringstream toml;
  toml << "kind = \"dit\"\ndepth = " << config.at("depth").as_int()
       << "\nwidth = " << config.at("hidden_size").as_int()
       << "\nheads = " << config.at("num_heads").as_int()
       << "\npatch = " << config.at("patch_size").as_int()
       << "\nlabel_dropout = " << config.at("class_dropout_prob").dump()
       << "\ndrop_sigma = " << (sit ? "true" : "false");
  if (const Json* ratio = config.find("mlp_ratio"))
    toml << "\nmlp = { kind = \"dense\", ratio = " << ratio->dump() << " }";
  const int64_t side = config.at("input_size").as_int();
  return testing::make<Denoiser>(toml.str(),
                                 {.channels = config.at("in_channels").as_int(),
                                  .height = side,
                                  .width = side,
                                  .classes = config.at("num_classes").as_int(),
                                  .predicts_sigma = config.at("learn_sigma").as_bool()});
}

void expect_constants(const Fixture& fixture) {
  fixture.expect_constant("frequency_embedding_size", nn::TimestepEmbedder::code_width);
  fixture.expect_constant("ln_eps", 1e-6);
}

REFERENCE_TEST(DitCases, OutputsAndGradientsMatchTheReference, "dit/dit") {
  expect_constants(fixture);
  const auto model = model_of(fixture.config());
  testing::load(*model, fixture.with_prefix("weight."));
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  nn::Taps taps;
  const at::Tensor output =
      model->forward(x, {.timestep_B = fixture.in("t"), .label_B = fixture.in("y"), .taps = &taps});
  const at::Tensor loss = output.mul(fixture.in("cotangent")).sum();
  loss.backward();

  fixture.expect_close(output, "out.output");
  fixture.expect_close(loss, "out.loss");
  fixture.expect_close(nn::timestep_code(fixture.in("t"), nn::TimestepEmbedder::code_width),
                       "out.t_freq");
  // Branches of block 0 are stored as block0.*, those of the others not at all.
  for (const auto& [tap, value] : taps.tensors) {
    std::string name = "out." + tap;
    if (tap.starts_with("block.0.")) name = "out.block0." + tap.substr(8);
    if (fixture.has(name)) fixture.expect_close(value, name);
  }
  fixture.expect_close(x.grad(), "grad.x");
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter->trainable()) {
      fixture.expect_close(testing::gradient_of(*parameter), "grad." + parameter->name());
    }
  }
  fixture.expect_all_checked();
}

// The files hold the table, and the model computes it.
REFERENCE_TEST(DitCases, PositionTableIsComputed, "dit/dit") {
  const auto model = model_of(fixture.config());
  model->materialize(0);
  fixture.expect_close(**model->find_parameter("pos_embed"), "weight.pos_embed");
}

REFERENCE_TEST(DitCases, GuidedOutputMatchesTheReference, "dit/dit_cfg") {
  expect_constants(fixture);
  const Json& config = fixture.config();
  const auto model = model_of(fixture.config());
  testing::load(*model, fixture.with_prefix("weight."));
  // [cond; null]; the first half of x serves both.
  const at::Tensor y = fixture.in("y");
  const int64_t half = y.size(0) / 2;
  const at::Tensor x = fixture.in("x").narrow(0, 0, half), t = fixture.in("t").narrow(0, 0, half);
  const auto denoiser = [&](const at::Tensor& x_BCHW, const at::Tensor& t_B,
                            const at::Tensor& label_B) {
    return model->forward(x_BCHW, {.timestep_B = t_B, .label_B = label_B}).detach();
  };
  const at::Tensor plain = denoiser(at::cat({x, x}), fixture.in("t"), y);
  fixture.expect_close(plain, "out.plain");

  const std::shared_ptr<const diffusion::Objective> objective = testing::make<diffusion::Objective>(
      std::string("kind = \"") + (config.at("kind").as_string() == "SiT" ? "flow" : "ddpm") + "\"",
      {});
  for (const auto& [channels, count, out] :
       {std::tuple{"first-3", int64_t{3}, "out.cfg_first3_channels"},
        {"all", config.at("in_channels").as_int(), "out.cfg_all_channels"}}) {
    if (!fixture.has(out)) continue;
    diffusion::GuidanceSettings settings;
    settings.scale = config.at("cfg_scale").as_double();
    settings.channels = channels;
    const at::Tensor guided = diffusion::guided(denoiser, objective, settings, y.narrow(0, 0, half),
                                                y.narrow(0, half, half))(x, t);
    // The reference returns both branches: the guided channels twice, of the others each its own.
    const int64_t rest = plain.size(1) - count;
    const at::Tensor null_branch = at::cat(
        {guided.narrow(1, 0, count), plain.narrow(0, half, half).narrow(1, count, rest)}, 1);
    fixture.expect_close(at::cat({guided, null_branch}), out);
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(PatchCases, MatchTheReference, "dit/patchify") {
  const Json& config = fixture.config();
  const int64_t patch = config.at("patch_size").as_int(), side = patch * config.at("grid").as_int(),
                width = fixture.out("x_embed").size(-1);
  const at::Tensor image = unpatchify(fixture.in("tokens"), patch, side, side);
  fixture.expect_close(image, "out.image");
  EXPECT_TRUE(patchify(image, patch).equal(fixture.in("tokens")));

  nn::Module root;
  const PatchEmbedder embedder(root, "x_embedder", patch, config.at("in_channels").as_int(), width);
  testing::load(root, fixture.with_prefix("weight."));
  const at::Tensor tokens = embedder.forward(fixture.in("x"));
  fixture.expect_close(tokens, "out.x_embed");
  // The convolution is a matrix on patches with the channel slowest.
  const at::Tensor weight = fixture.weight("x_embedder.proj.weight").view({width, -1});
  fixture.expect_close(tokens.sub(fixture.weight("x_embedder.proj.bias")),
                       fixture.out("x_patches").matmul(weight.t()), "out.x_patches");
  fixture.expect_all_checked();
}

TEST(Patches, RefuseSizesThatDoNotDivide) {
  EXPECT_THROW(patchify(at::zeros({1, 3, 8, 6}), 4), Error);
}

REFERENCE_TEST(DitCases, ParameterCountsMatchTheReferenceWithoutMemory, "dit/param_counts") {
  const Json::Array& columns = fixture.config().at("columns").as_array();
  const auto place_of = [&](const char* name) {
    for (size_t c = 0; c < columns.size(); ++c)
      if (columns[c].as_string() == name) return static_cast<int64_t>(c);
    fail("the case has no column ", name);
  };
  const at::Tensor rows = fixture.in("rows");
  at::Tensor total = fixture.out("total").clone(), trainable = total.clone();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const auto column = [&](const char* name) { return rows[i][place_of(name)].item<int64_t>(); };
    std::ostringstream toml;
    toml << "kind = \"dit\"\ndepth = " << column("depth") << "\nwidth = " << column("hidden")
         << "\nheads = " << column("heads") << "\npatch = " << column("patch")
         << "\nlabel_dropout = " << fixture.config().at("class_dropout_prob").dump();
    const auto model =
        testing::make<Denoiser>(toml.str(), {.channels = column("in_channels"),
                                             .height = column("input"),
                                             .width = column("input"),
                                             .classes = column("num_classes"),
                                             .predicts_sigma = column("learn_sigma") != 0});
    for (const nn::Parameter* parameter : model->parameters()) {
      ASSERT_FALSE((**parameter).defined()) << parameter->name() << " was allocated";
    }
    const Counts counts = count(*model);
    total[i].fill_(counts.total);
    trainable[i].fill_(counts.trainable);
  }
  fixture.expect_close(total, "out.total");
  fixture.expect_close(trainable, "out.trainable");
  fixture.expect_all_checked();
}

const Denoiser::Args kImage{.channels = 1, .height = 28, .width = 28, .classes = 10};

// A small model with some keys changed.
using Overrides = std::vector<std::string>;
std::unique_ptr<Denoiser> small(const Overrides& changes = {},
                                const Denoiser::Args& args = kImage) {
  return testing::make<Denoiser>("kind = \"dit\"\ndepth = 2\nwidth = 16\nheads = 2\npatch = 4",
                                 args, changes);
}

// Sizes of the papers; patch and single keys can be given instead.
TEST(Dit, NamedSizes) {
  const auto sizes = [](const std::string& toml) {
    const auto model = testing::make<Denoiser>(
        "kind = \"dit\"\n" + toml, {.channels = 4, .height = 32, .width = 32, .classes = 1000});
    const DitSizes& s = dynamic_cast<const Dit&>(*model).sizes();
    return std::vector<int64_t>{s.depth, s.width, s.heads, s.patch};
  };
  using Row = std::vector<int64_t>;
  EXPECT_EQ(sizes("size = \"S/8\""), (Row{12, 384, 6, 8}));
  EXPECT_EQ(sizes("size = \"B/4\""), (Row{12, 768, 12, 4}));
  EXPECT_EQ(sizes("size = \"M/2\""), (Row{16, 960, 16, 2}));
  EXPECT_EQ(sizes("size = \"L/2\""), (Row{24, 1024, 16, 2}));
  EXPECT_EQ(sizes("size = \"XL/2\"\ndepth = 3"), (Row{3, 1152, 16, 2}));
}

TEST(Dit, ParameterNamesOfTheReferenceImplementation) {
  const auto model = small({"depth=1", "mlp=moe"});
  std::vector<std::string> names;
  for (const nn::Parameter* parameter : model->parameters()) names.push_back(parameter->name());
  EXPECT_THAT(names,
              ::testing::UnorderedElementsAre(
                  "x_embedder.proj.weight", "x_embedder.proj.bias", "t_embedder.mlp.0.weight",
                  "t_embedder.mlp.0.bias", "t_embedder.mlp.2.weight", "t_embedder.mlp.2.bias",
                  "y_embedder.embedding_table.weight", "pos_embed", "blocks.0.attn.qkv.weight",
                  "blocks.0.attn.qkv.bias", "blocks.0.attn.proj.weight", "blocks.0.attn.proj.bias",
                  "blocks.0.moe.router.hidden.weight", "blocks.0.moe.router.hidden.bias",
                  "blocks.0.moe.router.gate.weight", "blocks.0.moe.router.gate.bias",
                  "blocks.0.moe.router.threshold", "blocks.0.moe.experts.fc1.weight",
                  "blocks.0.moe.experts.fc1.bias", "blocks.0.moe.experts.fc2.weight",
                  "blocks.0.moe.experts.fc2.bias", "blocks.0.adaLN_modulation.1.weight",
                  "blocks.0.adaLN_modulation.1.bias", "final_layer.linear.weight",
                  "final_layer.linear.bias", "final_layer.adaLN_modulation.1.weight",
                  "final_layer.adaLN_modulation.1.bias"));
}

// adaLN-Zero: every block is the identity and the output is 0 before the first step.
TEST(Dit, StartsAsTheIdentityWithZeroOutput) {
  const auto model = small();
  model->materialize(0);
  nn::Taps taps;
  const at::Tensor output = model->forward(random_normal({2, 1, 28, 28}, "x"),
                                           {.timestep_B = tensor_of({0.25, 0.5}),
                                            .label_B = tensor_of({3, 10}).to(at::kLong),
                                            .taps = &taps});
  EXPECT_TRUE(output.eq(0).all().item<bool>());
  std::map<std::string, at::Tensor> tapped(taps.tensors.begin(), taps.tensors.end());
  EXPECT_TRUE(tapped.at("block.0").equal(tapped.at("block.1")));
}

TEST(Dit, UnconditionalModelsNeedNoLabel) {
  const auto model = small({"classes=0"});
  model->materialize(0);
  EXPECT_EQ(model->find_parameter("y_embedder.embedding_table.weight"), nullptr);
  EXPECT_FALSE(model->has_null_label());
  const at::Tensor x = random_normal({2, 1, 28, 28}, "x");
  EXPECT_EQ(model->forward(x, {.timestep_B = tensor_of({0.25, 0.5})}).sizes(), x.sizes());
}

TEST(Dit, NullLabelExistsOnlyWithLabelDropout) {
  const auto rows = [](const Overrides& changes) {
    return small(changes)->find_parameter("y_embedder.embedding_table.weight")->shape()[0];
  };
  EXPECT_EQ(rows({}), 11);
  EXPECT_EQ(rows({"label_dropout=0"}), 10);
}

std::string error_of(const Overrides& changes, const Denoiser::Args& args = kImage) {
  return testing::message_of([&] { small(changes, args); });
}

TEST(Dit, RefusesImpossibleSizes) {
  EXPECT_THAT(error_of({"heads=3"}),
              HasSubstr("model.width = 16 is not divisible by model.heads = 3"));
  EXPECT_THAT(error_of({"width=18"}), HasSubstr("model.width = 18 is not divisible by 4"));
  EXPECT_THAT(error_of({"patch=5"}),
              HasSubstr("model.patch = 5 does not divide the input of 28x28"));
  EXPECT_THAT(error_of({"size=H/14"}), HasSubstr("model.size = \"H/14\" is unknown"));
  EXPECT_THAT(error_of({"size=B"}), HasSubstr("for example \"B/2\""));
  for (const char* size : {"S/4x", "B/2.5", "S/ 4", "S/+4", "S/4/2", "S/0x4", "S/"})
    EXPECT_THAT(error_of({"size='" + std::string(size) + "'"}), HasSubstr("is unknown")) << size;
  EXPECT_THAT(error_of({}, {}), HasSubstr("give task.model.image and task.model.channels"));
  EXPECT_THAT(error_of({"mlp=moe", "mlp.experts=2", "mlp.active=3"}),
              HasSubstr("3 active experts of 2"));
}

TEST(Dit, RefusesAnInputOfAnotherShape) {
  const auto model = small({"classes=0"});
  model->materialize(0);
  const std::string message = testing::message_of(
      [&] { model->forward(at::zeros({1, 3, 28, 28}), {.timestep_B = tensor_of({0})}); });
  EXPECT_THAT(message, HasSubstr("[B, 1, 28, 28]"));
  EXPECT_THAT(message, HasSubstr("[1, 3, 28, 28]"));
}

TEST(Weights, OfAnotherModelAreListedAndNothingIsChanged) {
  const auto model = small(), other = small({"width=32", "mlp=moe"});
  model->materialize(1);
  other->materialize(2);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : named_tensors(*other)) tensors.emplace(name, tensor);
  const at::Tensor before = (**model->find_parameter("blocks.0.attn.qkv.weight")).clone();
  const std::string message =
      testing::message_of([&] { load_weights(*model, tensors, "other.safetensors"); });
  EXPECT_THAT(message, HasSubstr("other.safetensors does not fit"));
  EXPECT_THAT(message, HasSubstr("missing:    blocks.0.mlp.fc1.weight"));
  EXPECT_THAT(message, HasSubstr("unexpected: blocks.0.moe.router.gate.weight"));
  EXPECT_THAT(message, HasSubstr("blocks.0.attn.proj.bias: expected [16], found [32]"));
  EXPECT_TRUE(before.equal(**model->find_parameter("blocks.0.attn.qkv.weight")));
}

TEST(Weights, AFileNeedNotHoldTheComputedTable) {
  const auto model = small(), same = small();
  model->materialize(1);
  same->materialize(2);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : named_tensors(*same)) tensors.emplace(name, tensor);
  tensors.erase("pos_embed");
  load_weights(*model, tensors, "file");
  for (const nn::Parameter* parameter : same->parameters()) {
    EXPECT_TRUE((**parameter).equal(**model->find_parameter(parameter->name())));
  }
}

}  // namespace
}  // namespace gallop::models
