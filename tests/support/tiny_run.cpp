#include "tests/support/tiny_run.h"

#include <gtest/gtest.h>

#include <fstream>

#include "gallop/base/json.h"
#include "gallop/config/parse.h"
#include "gallop/models/weights.h"

namespace gallop::training {
namespace {

constexpr const char* tiny = R"(
format = 2
seed = 5
threads = 1
device = "cpu"
train = { steps = 12, batch = 6 }
optimizer = { kind = "adamw", lr = 3e-3 }
schedule = { kind = "cosine", warmup = 3 }
ema = { decay = 0.9, warmup = true }
eval = { every = 4 }
sample = { every = 0 }
checkpoint = { every = 100 }
log = { every = 2, tensorboard = false }
[task]
kind = "image-generation"
objective = "flow"
data.source = { kind = "toy", count = 48 }
eval = { samples = 12, batch = 12 }
[task.model]
kind = "dit"
depth = 2
width = 16
heads = 2
patch = 2
[task.model.mlp]
kind = "moe"
setting = "2-in-4"
[task.model.mlp.losses]
router_similarity.weight = 1e-4
per_layer.weight = 1e-2
)";

}  // namespace

runs::Recipe recipe_in(const std::filesystem::path& out,
                       const std::vector<std::string>& overrides) {
  runs::Recipe recipe;
  config::load_text(recipe, tiny, "tiny", overrides);
  recipe.name = "tiny";
  recipe.out = out.string();
  return recipe;
}

std::vector<std::string> log_lines(const std::filesystem::path& run) {
  std::ifstream file(run / "log.jsonl");
  std::vector<std::string> lines;
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text);
    Json kept = Json::object();
    for (const auto& [key, value] : line.as_object()) {
      const bool of_this_moment = key == "time" || key == "seconds" || key.ends_with("_per_second");
      if (!of_this_moment) kept[key] = value;
    }
    lines.push_back(kept.dump());
  }
  return lines;
}

std::vector<double> logged(const std::filesystem::path& run, const std::string& kind,
                           const std::string& name) {
  std::vector<double> values;
  for (const std::string& line : log_lines(run)) {
    const Json json = Json::parse(line);
    if (json.at("kind").as_string() == kind) values.push_back(json.at(name).as_double());
  }
  return values;
}

void expect_equal_weights(const nn::Module& a, const nn::Module& b) {
  const auto left = models::named_tensors(a), right = models::named_tensors(b);
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].first, right[i].first);
    EXPECT_TRUE(left[i].second.equal(right[i].second)) << left[i].first;
  }
}

}  // namespace gallop::training
