// A port of a published model is checked with `gallop forward`; here its cases are the project's
// own reference cases, straight through the program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "gallop/base/file.h"
#include "gallop/formats/safetensors.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string fixture(const std::string& name) {
  return (fs::path(data_folder) / "fixtures" / (name + ".safetensors")).string();
}

constexpr const char* kDit = R"(
task = { kind = "image-generation", objective = "ddpm" }
[model]
kind = "dit"
image = 8
channels = 4
classes = 10
depth = 3
width = 24
heads = 4
patch = 2
)";

constexpr const char* kRaceDit = R"(
task = { kind = "image-generation", objective = { kind = "ddpm", variance = "fixed-small" } }
[model]
kind = "dit"
image = 8
channels = 4
classes = 5
depth = 2
width = 32
heads = 4
patch = 2
[model.mlp]
kind = "moe"
experts = 4
active = 2
hidden = 64
selection = { kind = "race", warmup = false }
losses = { per_layer = { weight = 1e-2 }, router_similarity = { weight = 1e-4 } }
)";

class ForwardCommand : public ::testing::Test {
 protected:
  ForwardCommand() {
    write_file_atomically(folder / "dit.toml", kDit);
    write_file_atomically(folder / "race.toml", kRaceDit);
  }
  ProgramResult forward(const std::string& recipe, const std::string& weights,
                        const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"forward", (folder / recipe).string(), "--weights", weights};
    args.insert(args.end(), more.begin(), more.end());
    return run_program(args);
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  const TemporaryDirectory folder;
};

TEST_F(ForwardCommand, DitPassesItsReferenceCase) {
  const auto result = forward("dit.toml", fixture("dit/dit_p2_learn_sigma"),
                              {"--gradients", "--blocks", "--check", "--outputs", path("out")});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_THAT(result.out, Not(HasSubstr("FAILED")));
  // 42 gradients; the output, the loss, x_embed, t_embed, y_embed, c, 3 blocks and final_tokens.
  EXPECT_THAT(result.out, HasSubstr("52 of 52 agree within 1.0e-04 + 1.0e-04 |expected|"));
  // Stored by the reference under names of its own.
  EXPECT_THAT(result.out,
              HasSubstr("not produced: block0.adaln, block0.attn, block0.mlp and t_freq\n"));

  const formats::SafetensorsReader out(path("out"));
  ASSERT_NE(out.find("output"), nullptr);
  EXPECT_EQ(out.find("output")->shape, (std::vector<int64_t>{3, 8, 8, 8}));
  for (const char* name :
       {"loss", "block.0", "block.2", "grad.x", "grad.blocks.1.mlp.fc1.weight"}) {
    EXPECT_NE(out.find(name), nullptr) << name;
  }
}

TEST_F(ForwardCommand, RaceDitPassesItsReferenceCase) {
  const auto result = forward("race.toml", fixture("moe/racedit_eps"),
                              {"--train", "--gradients", "--check", "--outputs", path("out")});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_THAT(result.out, Not(HasSubstr("FAILED")));
  for (const char* name : {"ok      output ", "ok      loss ", "ok      grad.x ",
                           "ok      grad.blocks.1.moe.router.target.weight ",
                           "ok      grad.blocks.0.moe.experts.fc1.weight "}) {
    EXPECT_THAT(result.out, HasSubstr(name));
  }
  EXPECT_THAT(result.out, HasSubstr("blocks.0.kappa, "));  // not produced

  const formats::SafetensorsReader out(path("out"));
  for (const char* name : {"loss.main", "loss.per_layer", "loss.router_similarity",
                           "routing.0.logits", "routing.1.mask", "routing.1.threshold"}) {
    EXPECT_NE(out.find(name), nullptr) << name;
  }
}

// Inference by thresholds, from a file of weights and one of inputs without prefixes.
TEST_F(ForwardCommand, WeightsAndInputsMayBeSeparateFiles) {
  const formats::SafetensorsReader reader(fixture("moe/racedit_eps"));
  const float thresholds[2] = {0.018300138413906097F, -0.5334542989730835F};
  std::vector<formats::TensorView> weights, inputs;
  for (formats::TensorView view : reader.tensors()) {
    if (view.name.starts_with("weight.")) {
      view.name = view.name.substr(7);
      if (view.name == "blocks.0.moe.router.threshold") {
        view.data = std::as_bytes(std::span(&thresholds[0], 1));
      } else if (view.name == "blocks.1.moe.router.threshold") {
        view.data = std::as_bytes(std::span(&thresholds[1], 1));
      }
      weights.push_back(view);
    } else if (view.name == "in.x" || view.name == "in.t" || view.name == "in.y") {
      view.name = view.name.substr(3);
      inputs.push_back(view);
    } else if (view.name == "out.infer.output") {
      view.name = "out.output";
      inputs.push_back(view);
    } else if (view.name.starts_with("out.infer.blocks.")) {
      view.name = "out.routing." + view.name.substr(17);
      inputs.push_back(view);
    }
  }
  formats::write_safetensors(folder / "weights", weights);
  formats::write_safetensors(folder / "inputs", inputs);
  const auto result =
      forward("race.toml", path("weights"),
              {"--inputs", path("inputs"), "--check", "--rtol", "1e-4", "--atol", "1e-4"});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("3 of 3 agree"));

  const auto without =
      forward("race.toml", path("weights"), {"--inputs", path("inputs"), "--check"});
  EXPECT_EQ(without.status, 2);
  EXPECT_THAT(without.err, HasSubstr("--check needs --rtol"));
}

TEST_F(ForwardCommand, ADifferenceIsStatus1) {
  const auto result = forward("dit.toml", fixture("dit/dit_p2_learn_sigma"),
                              {"--check", "--rtol", "0", "--atol", "1e-12"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, HasSubstr("FAILED  output"));
  EXPECT_THAT(result.out, HasSubstr("largest error"));
  EXPECT_EQ(result.err, "");
}

TEST_F(ForwardCommand, WeightsOfAnotherModelAreListed) {
  write_file_atomically(folder / "out", std::string("old"));
  const auto result =
      forward("race.toml", fixture("dit/dit_p2_learn_sigma"), {"--outputs", path("out")});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("missing:    blocks.0.moe.router.gate.weight"));
  EXPECT_THAT(result.err, HasSubstr("unexpected: blocks.2.attn.qkv.weight"));
  EXPECT_THAT(result.err, HasSubstr("x_embedder.proj.bias: expected [32], found [24]"));
  EXPECT_EQ(read_file(folder / "out"), "old");
}

TEST_F(ForwardCommand, ResultsMustGoSomewhere) {
  const auto result = forward("dit.toml", fixture("dit/dit_p2_learn_sigma"), {});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("--outputs"));
}

TEST_F(ForwardCommand, ADamagedFileIsOneError) {
  write_file_atomically(folder / "bad", std::string("not a safetensors file"));
  const auto result = forward("dit.toml", path("bad"), {"--check"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("bad"));
}

// From dense weights to a sparse model that gives the reference numbers of the dense one.
TEST_F(ForwardCommand, ADenseModelUpcycledToAllOfItsParts) {
  const std::string sizes = R"(
task = { kind = "image-generation", objective = "flow" }
[model]
kind = "dit"
image = 28
channels = 1
classes = 10
depth = 2
width = 16
heads = 2
patch = 4
)";
  write_file_atomically(folder / "sparse.toml",
                        sizes + "mlp = { kind = \"moe\", selection = \"token\" }\n");
  const formats::SafetensorsReader reader(fixture("dit/dit_p4_28x28"));
  std::vector<formats::TensorView> weights, others;
  for (formats::TensorView tensor : reader.tensors()) {
    if (tensor.name.starts_with("weight.")) {
      tensor.name.erase(0, std::string("weight.").size());
      weights.push_back(tensor);
    } else if (tensor.name.starts_with("in.") || tensor.name == "out.output") {
      others.push_back(tensor);
    }
  }
  formats::write_safetensors(folder / "dense.safetensors", weights);
  formats::write_safetensors(folder / "case.safetensors", others);

  const std::vector<std::string> convert = {"convert", path("dense.safetensors"),
                                            path("sparse.safetensors"), "--upcycle",
                                            path("sparse.toml")};
  auto args = convert;
  args.insert(args.end(), {"--set", "model.mlp.setting=4-in-4", "--router-noise", "0"});
  const ProgramResult made = run_program(args);
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("blocks.1.moe: 1 copies of 4 parts, scores start near 1\n"));
  EXPECT_THAT(made.out, HasSubstr("first values: blocks.0.moe.router.hidden.weight"));
  const ProgramResult result =
      forward("sparse.toml", path("sparse.safetensors"),
              {"--set", "model.mlp.setting=4-in-4", "--inputs", path("case.safetensors"), "--check",
               "--rtol", "1e-4", "--atol", "1e-4"});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("1 of 1 agree"));

  args = convert;
  args.insert(args.end(), {"--set", "model.mlp.setting=2-in-5"});
  const ProgramResult refused = run_program(args);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("no whole copies"));
  const ProgramResult alone =
      run_program({"convert", path("dense.safetensors"), path("x.safetensors"), "--set", "a=1"});
  EXPECT_EQ(alone.status, 2);
  EXPECT_THAT(alone.err, HasSubstr("belong to --upcycle"));
}

}  // namespace
}  // namespace gallop::test
