#include "tests/tasks/tiny_race.h"

#include <ATen/core/grad_mode.h>

#include "gallop/base/random.h"
#include "gallop/config/parse.h"
#include "gallop/tasks/images/keyed_noise.h"

namespace gallop::testing {
namespace {

struct Recipe : config::Fields<Recipe> {
  config::Component model{"denoiser", "dit"};
  void fields(config::Visitor& v) override { v.component("model", model, "the network"); }
};

constexpr const char* text = R"(
[model]
depth = 2
width = 16
heads = 2
patch = 2

[model.mlp]
kind = "moe"
setting = "2-in-4"
losses = { router_similarity = { weight = 1e-4 }, per_layer = { weight = 1e-2 } }
)";

}  // namespace

config::Component tiny_race(double label_dropout) {
  Recipe recipe;
  config::load_text(recipe, text, "tiny_race",
                    {"model.label_dropout=" + std::to_string(label_dropout)});
  return recipe.model;
}

void randomize(models::Denoiser& model, uint64_t seed) {
  model.materialize(seed);
  const at::NoGradGuard no_grad;
  for (nn::Parameter* parameter : model.parameters()) {
    if (parameter->attributes().buffer) (*parameter)->zero_();
    if (!parameter->trainable()) continue;
    const NoiseKey key{.seed = seed, .purpose = "test", .sample = hash_name(parameter->name())};
    (*parameter)
        ->copy_(
            tasks::keyed_noise(key, 0, 1, {parameter->numel()}).mul(0.2).view(parameter->shape()));
  }
}

}  // namespace gallop::testing
