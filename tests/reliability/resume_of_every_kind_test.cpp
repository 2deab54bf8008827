#include <gtest/gtest.h>

#include <algorithm>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "gallop/config/registry.h"
#include "gallop/training/trainer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::training {
namespace {

using Overrides = std::vector<std::string>;

// Where a recipe chooses a kind of each category. Those of other categories choose nothing that a
// training step reads, or are data.
const std::map<std::string, std::string> keys = {{"attention", "model.attention"},
                                                 {"block_routing", "model.block_routing"},
                                                 {"experts", "model.mlp.expert"},
                                                 {"gate", "model.mlp.gate"},
                                                 {"mlp", "model.mlp"},
                                                 {"objective", "task.objective"},
                                                 {"optimizer", "optimizer"},
                                                 {"router", "model.mlp.router"},
                                                 {"schedule", "schedule"},
                                                 {"selection", "model.mlp.selection"},
                                                 {"sparse-loss", "model.mlp.losses"},
                                                 {"stream", "model.stream"},
                                                 {"weighting", "model.mlp.weights"}};
const std::vector<std::string> others = {"dataset", "denoiser", "names", "sampler", "task"};

// What a kind needs beside its name. A new one that works with the defaults needs no line here.
const std::map<std::string, Overrides> needs = {
    {"attention moh", {"model.heads=4", "model.attention.shared=1", "model.attention.active=1"}},
    {"block_routing mod", {"model.mlp={kind=\"dense\"}"}},
    {"block_routing mor", {"model.mlp={kind=\"dense\"}"}},
    {"block_routing p_mod", {"model.mlp={kind=\"dense\"}"}},
    {"experts unequal", {"model.mlp.expert.widths=[8,8,16,16]"}},
    {"router product_keys",
     {"model.mlp={kind=\"moe\",experts=16,active=2,hidden=8,router=\"product_keys\"}",
      "model.mlp.losses.per_layer.weight=0", "model.mlp.losses.router_similarity.weight=0"}},
    {"selection positive", {"model.mlp.gate=relu"}},
    {"sparse-loss adaptive_l1", {"model.mlp.gate=relu", "model.mlp.selection=positive"}},
    {"sparse-loss capacity", {"model.mlp.selection=diffmoe"}},
    {"sparse-loss contrastive", {"model.mlp.router=prototype"}},
    {"sparse-loss load", {"model.mlp.router=noisy"}}};

Overrides recipe_of_kind(const std::string& category, const std::string& kind) {
  const auto found = needs.find(category + " " + kind);
  const Overrides more = found == needs.end() ? Overrides() : found->second;
  const bool has_mlp =
      category == "mlp" || std::any_of(more.begin(), more.end(),
                                       [](const auto& m) { return m.starts_with("model.mlp="); });
  Overrides overrides = {"train.accumulate=2", "train.steps=7", "log.every=3", "eval.every=3"};
  if (!has_mlp) overrides.push_back("model.mlp={kind=\"moe\",setting=\"2-in-4\"}");
  const std::string key = keys.at(category);
  overrides.push_back(category == "sparse-loss" ? key + "." + kind + ".weight=0.1"
                                                : key + "=" + kind);
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}

// Every kind that is registered goes on from a checkpoint as if nothing had happened, whoever added
// it: ExactResume does the same in more steps for those that are known to keep something.
TEST(ResumeOfEveryKind, EqualsTheUninterruptedRun) {
  for (const std::string& category : config::component_categories()) {
    if (std::find(others.begin(), others.end(), category) != others.end()) continue;
    if (category.starts_with("test")) continue;
    ASSERT_TRUE(keys.contains(category)) << category << ": say here where a recipe chooses it";
    for (const config::ComponentInfo* info : config::components_of(category)) {
      SCOPED_TRACE(category + " " + info->kind);
      const Overrides overrides = recipe_of_kind(category, info->kind);
      const test::TemporaryDirectory folder;
      try {
        Trainer whole(recipe_in(folder / "whole", overrides));
        whole.run();
        for (const int64_t stop : {1, 4}) Trainer(recipe_in(folder / "parts", overrides)).run(stop);
        Trainer last(recipe_in(folder / "parts", overrides));
        EXPECT_EQ(last.run(), Ended::finished);
        EXPECT_EQ(log_lines(folder / "parts"), log_lines(folder / "whole"));
        expect_equal_weights(last.model(), whole.model());
        expect_equal_weights(last.average(), whole.average());
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    }
  }
}

}  // namespace
}  // namespace gallop::training
