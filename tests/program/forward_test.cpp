// A port of a published model is checked with `gallop forward`; here its cases are the project's
// own reference cases, straight through the program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <iostream>
#include <sstream>

#include "gallop/base/file.h"
#include "gallop/base/json.h"
#include "gallop/formats/safetensors.h"
#include "tests/reference/cases.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using testing::HasSubstr;
using testing::Not;

Json config_of(const ReferenceCase& which) {
  const formats::SafetensorsReader reader(which.file);
  return Json::parse(reader.metadata().at("config"), which.name + " config");
}

// The recipe of a DiT or SiT that a case of the kind dit/dit describes.
std::string dit_recipe(const Json& config) {
  const bool sit = config.at("kind").as_string() == "SiT",
             sigma = config.at("learn_sigma").as_bool();
  std::ostringstream toml;
  toml << "task.kind = \"image-generation\"\ntask.objective = "
       << (sit     ? "\"flow\""
           : sigma ? "\"ddpm\""
                   : "{ kind = \"ddpm\", variance = \"fixed-small\" }")
       << "\n[task.model]\nkind = \"dit\"\nimage = " << config.at("input_size").dump()
       << "\nchannels = " << config.at("in_channels").dump()
       << "\nclasses = " << config.at("num_classes").dump()
       << "\nlabel_dropout = " << config.at("class_dropout_prob").dump()
       << "\ndepth = " << config.at("depth").dump()
       << "\nwidth = " << config.at("hidden_size").dump()
       << "\nheads = " << config.at("num_heads").dump()
       << "\npatch = " << config.at("patch_size").dump()
       << "\nlearn_sigma = " << (sigma ? "\"yes\"" : "\"no\"")
       << "\ndrop_sigma = " << (sit ? "true" : "false")
       << "\nmlp = { kind = \"dense\", ratio = " << config.at("mlp_ratio").dump() << " }\n";
  return toml.str();
}

// The recipe of a case of the kind moe/racedit.
std::string race_recipe(const Json& config) {
  const bool sigma = config.at("learn_sigma").as_bool();
  std::ostringstream toml;
  toml << "task.kind = \"image-generation\"\ntask.objective = "
       << (config.at("objective").as_string() == "velocity"
               ? std::string("{ kind = \"flow\", double_output = ") + (sigma ? "true" : "false") +
                     " }"
               : std::string("{ kind = \"ddpm\", variance = \"") +
                     (sigma ? "learned" : "fixed-small") + "\" }")
       << "\n[task.model]\nkind = \"dit\"\nimage = " << config.at("image").dump()
       << "\nchannels = " << config.at("channels").dump()
       << "\nclasses = " << config.at("classes").dump() << "\ndepth = " << config.at("depth").dump()
       << "\nwidth = " << config.at("D").dump() << "\nheads = " << config.at("heads").dump()
       << "\npatch = " << config.at("patch").dump()
       << "\n[task.model.mlp]\nkind = \"moe\"\nexperts = " << config.at("E").dump()
       << "\nactive = " << config.at("k").dump() << "\nhidden = " << config.at("hidden").dump()
       << "\nselection = { kind = \"race\", warmup = false, momentum = "
       << config.at("threshold_momentum").dump()
       << " }\nlosses = { per_layer = { weight = " << config.at("lambda_plr").dump()
       << ", reduction = \"" << config.at("plr_reduction").as_string()
       << "\" }, router_similarity = { weight = " << config.at("lambda_rsl").dump() << " } }\n";
  return toml.str();
}

class ForwardCommand : public ::testing::Test {
 protected:
  ProgramResult forward(const std::string& recipe, const std::string& weights,
                        const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"forward", path(recipe), "--weights", weights};
    args.insert(args.end(), more.begin(), more.end());
    return run_program(args);
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  const TemporaryDirectory folder;
};

// Each of these runs on every reference case of a kind, as the tests of the engine do
// (tests/support/fixture.h).
class ForwardCases : public ForwardCommand {
 protected:
  template <class Body>
  void each(const std::string& kind, Body body) {
    const auto cases = cases_in(case_folder(), kind);
    if (cases.empty()) GTEST_SKIP() << "no case of the kind " << kind << " in " << case_folder();
    for (const ReferenceCase& which : cases) {
      SCOPED_TRACE("reference case " + which.name + ": " + which.file.string());
      try {
        const Json config = config_of(which);
        write_file_atomically(folder / "recipe.toml",
                              kind == "dit/dit" ? dit_recipe(config) : race_recipe(config));
        body(config, which.file.string());
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    }
  }
};

TEST_F(ForwardCases, DitPassesThem) {
  each("dit/dit", [&](const Json& config, const std::string& file) {
    const auto result = forward("recipe.toml", file,
                                {"--gradients", "--blocks", "--check", "--outputs", path("out")});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    EXPECT_THAT(result.out, Not(HasSubstr("FAILED")));
    const formats::SafetensorsReader given(file);
    size_t stored = 0;
    for (const auto& view : given.tensors())
      stored += view.name.starts_with("out.") || view.name.starts_with("grad.");
    // Four are stored by the reference under names of its own.
    const std::string count = std::to_string(stored - 4);
    EXPECT_THAT(result.out, HasSubstr(count + " of " + count + " agree within "));
    EXPECT_THAT(result.out,
                HasSubstr("not produced: block0.adaln, block0.attn, block0.mlp and t_freq\n"));

    const formats::SafetensorsReader out(path("out"));
    ASSERT_NE(out.find("output"), nullptr);
    EXPECT_EQ(out.find("output")->shape, given.find("out.output")->shape);
    const std::string last = std::to_string(config.at("depth").as_int() - 1);
    for (const std::string& name :
         {std::string("loss"), std::string("block.0"), "block." + last, std::string("grad.x"),
          "grad.blocks." + last + ".mlp.fc1.weight"}) {
      EXPECT_NE(out.find(name), nullptr) << name;
    }
  });
}

TEST_F(ForwardCases, RaceDitPassesThem) {
  each("moe/racedit", [&](const Json& config, const std::string& file) {
    if (config.at("objective").as_string() == "eps" && config.at("learn_sigma").as_bool()) {
      std::cout << file << " is left out: no objective here learns a variance from this loss\n";
      return;
    }
    const auto result = forward("recipe.toml", file,
                                {"--train", "--gradients", "--check", "--outputs", path("out")});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    EXPECT_THAT(result.out, Not(HasSubstr("FAILED")));
    for (const char* name : {"ok      output ", "ok      loss ", "ok      grad.x ",
                             "ok      grad.blocks.0.moe.router.target.weight ",
                             "ok      grad.blocks.0.moe.experts.fc1.weight "}) {
      EXPECT_THAT(result.out, HasSubstr(name));
    }
    EXPECT_THAT(result.out, HasSubstr("blocks.0.kappa, "));  // not produced

    const formats::SafetensorsReader out(path("out"));
    const std::string last = std::to_string(config.at("depth").as_int() - 1);
    for (const std::string& name :
         {std::string("loss.main"), std::string("loss.per_layer"),
          std::string("loss.router_similarity"), std::string("routing.0.logits"),
          "routing." + last + ".mask", "routing." + last + ".threshold"}) {
      EXPECT_NE(out.find(name), nullptr) << name;
    }
  });
}

// Inference by thresholds, from a file of weights and one of inputs without prefixes.
TEST_F(ForwardCases, WeightsAndInputsMayBeSeparateFiles) {
  each("moe/racedit", [&](const Json& config, const std::string& file) {
    const formats::SafetensorsReader reader(file);
    std::vector<float> thresholds;
    for (const Json& threshold : config.at("infer_thresholds").as_array())
      thresholds.push_back(static_cast<float>(threshold.as_double()));
    std::vector<formats::TensorView> weights, inputs;
    for (formats::TensorView view : reader.tensors()) {
      if (view.name.starts_with("weight.")) {
        view.name = view.name.substr(7);
        for (size_t i = 0; i < thresholds.size(); ++i) {
          if (view.name == "blocks." + std::to_string(i) + ".moe.router.threshold")
            view.data = std::as_bytes(std::span(&thresholds[i], 1));
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
        forward("recipe.toml", path("weights"),
                {"--inputs", path("inputs"), "--check", "--rtol", reader.metadata().at("rtol"),
                 "--atol", reader.metadata().at("atol")});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    const std::string count = std::to_string(1 + thresholds.size());
    EXPECT_THAT(result.out, HasSubstr(count + " of " + count + " agree"));

    const auto without =
        forward("recipe.toml", path("weights"), {"--inputs", path("inputs"), "--check"});
    EXPECT_EQ(without.status, 2);
    EXPECT_THAT(without.err, HasSubstr("--check needs --rtol"));
  });
}

TEST_F(ForwardCases, ADifferenceIsStatus1) {
  each("dit/dit", [&](const Json&, const std::string& file) {
    const auto result = forward("recipe.toml", file, {"--check", "--rtol", "0", "--atol", "1e-12"});
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.out, HasSubstr("FAILED  output"));
    EXPECT_THAT(result.out, HasSubstr("largest error"));
    EXPECT_EQ(result.err, "");
  });
}

TEST_F(ForwardCases, WeightsOfAnotherModelAreListed) {
  each("dit/dit", [&](const Json& config, const std::string& file) {
    write_file_atomically(folder / "out", std::string("old"));
    const std::string width = config.at("hidden_size").dump(),
                      wider = std::to_string(2 * config.at("hidden_size").as_int()),
                      fewer = std::to_string(config.at("depth").as_int() - 1);
    const auto result = forward("recipe.toml", file,
                                {"--set", "task.model.width=" + wider, "--set",
                                 "task.model.mlp={ kind = \"moe\" }", "--outputs", path("out")});
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, HasSubstr("missing:    blocks.0.moe.router.gate.weight"));
    EXPECT_THAT(result.err, HasSubstr("unexpected: blocks." + fewer + ".mlp.fc1.weight"));
    EXPECT_THAT(result.err,
                HasSubstr("x_embedder.proj.bias: expected [" + wider + "], found [" + width + "]"));
    EXPECT_EQ(read_file(folder / "out"), "old");
  });
}

TEST_F(ForwardCases, ResultsMustGoSomewhere) {
  each("dit/dit", [&](const Json&, const std::string& file) {
    const auto result = forward("recipe.toml", file, {});
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, HasSubstr("--outputs"));
  });
}

TEST_F(ForwardCommand, ADamagedFileIsOneError) {
  write_file_atomically(folder / "dit.toml", std::string(R"(
task.kind = "image-generation"
task.objective = "ddpm"
task.model = { kind = "dit", image = 8, channels = 4, depth = 1, width = 8, heads = 2, patch = 2 }
)"));
  write_file_atomically(folder / "bad", std::string("not a safetensors file"));
  const auto result = forward("dit.toml", path("bad"), {"--check"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("bad"));
}

// From dense weights to a sparse model that gives the reference numbers of the dense one.
TEST_F(ForwardCases, ADenseModelUpcycledToAllOfItsParts) {
  each("dit/dit", [&](const Json& config, const std::string& file) {
    const formats::SafetensorsReader reader(file);
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
    // As many experts as the hidden units can be cut into, 4 at most, and one that is too many.
    const int64_t hidden = reader.find("weight.blocks.0.mlp.fc1.weight")->shape[0];
    int64_t parts = 4;
    while (hidden % parts != 0) --parts;
    const std::string count = std::to_string(parts),
                      all = "task.model.mlp.setting=" + count + "-in-" + count;
    std::string recipe = dit_recipe(config);
    recipe.replace(recipe.find("mlp = "), std::string::npos,
                   "mlp = { kind = \"moe\", selection = \"token\" }\n");
    write_file_atomically(folder / "sparse.toml", recipe);

    const std::vector<std::string> convert = {"convert", path("dense.safetensors"),
                                              path("sparse.safetensors"), "--upcycle",
                                              path("sparse.toml")};
    auto args = convert;
    const std::vector<std::string> set = {
        "--set", all, "--set", "task.model.mlp.hidden=" + std::to_string(hidden / parts)};
    args.insert(args.end(), set.begin(), set.end());
    args.insert(args.end(), {"--router-noise", "0"});
    const ProgramResult made = run_program(args);
    ASSERT_EQ(made.status, 0) << made.err;
    EXPECT_THAT(made.out,
                HasSubstr("blocks.0.moe: 1 copies of " + count + " parts, scores start near 1\n"));
    EXPECT_THAT(made.out, HasSubstr("first values: blocks.0.moe.router.hidden.weight"));
    args = set;
    args.insert(args.end(), {"--inputs", path("case.safetensors"), "--check", "--rtol",
                             reader.metadata().at("rtol"), "--atol", reader.metadata().at("atol")});
    const ProgramResult result = forward("sparse.toml", path("sparse.safetensors"), args);
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    EXPECT_THAT(result.out, HasSubstr("1 of 1 agree"));

    if (parts > 1) {
      args = convert;
      args.insert(args.end(), {"--set", "task.model.mlp.setting=2-in-" + std::to_string(parts + 1),
                               set[2], set[3]});
      const ProgramResult refused = run_program(args);
      EXPECT_EQ(refused.status, 2);
      EXPECT_THAT(refused.err, HasSubstr("no whole copies"));
    }
    const ProgramResult alone =
        run_program({"convert", path("dense.safetensors"), path("x.safetensors"), "--set", "a=1"});
    EXPECT_EQ(alone.status, 2);
    EXPECT_THAT(alone.err, HasSubstr("belong to --upcycle"));
  });
}

}  // namespace
}  // namespace gallop::test
