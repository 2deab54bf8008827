#include "gallop/tasks/images/settings.h"

#include <limits>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/base/printable.h"

namespace gallop::tasks {

using config::at_least;
using config::between;

void EvaluationSettings::fields(config::Visitor& v) {
  v.field("samples", samples, "first samples of the test split that are used", at_least(1));
  v.field("batch", batch,
          "samples at once; changes the loss by rounding alone, but for a selection whose samples "
          "compete outside training",
          at_least(1));
}

void SampleSettings::fields(config::Visitor& v) {
  v.component("sampler", sampler, "how noise becomes an image (see `gallop components sampler`)");
  v.field("steps", steps, "steps of the sampler", between(1, 1'000'000));
  v.field("guidance", guidance, "classifier-free guidance scale; 1: none", at_least(0));
  v.field("guidance_from", guidance_from, "guidance acts from this noise level (0 data, 1 noise)",
          between(0, 1));
  v.field("guidance_to", guidance_to, "up to this noise level", between(0, 1));
  v.field("guidance_channels", guidance_channels,
          "guide all image channels, or the first three as DiT did", {"all", "first-3"});
  v.field("per_class", per_class, "images a class on a sheet (rows of it without classes)",
          between(1, 1000));
  v.field(
      "labels", labels,
      "classes, by name or number, or none (no class); sample i is of label i modulo their "
      "number. \"@none\" is no class and \"@7\" class 7 whatever the classes are called. Empty: "
      "all, or ten of them spread evenly");
  v.field("count", count, "samples in all; absent: per_class for each label", at_least(1));
  v.field("first", first, "index of the first sample; goes on where others ended", at_least(0));
  v.field("seed", seed, "key of the noise, 0 to 2^64 - 1; empty: that of the recipe");
  v.field(
      "batch", batch,
      "samples at once. Changes them by rounding alone, unless a selection lets the samples of a "
      "batch compete outside training (diffmoe by count, capacity by dropping, top-k over a "
      "batch): then there is a warning",
      at_least(1));
  v.field("off", off,
          "experts or heads that are taken from the tokens, to see what they do: LAYER:NUMBER,..., "
          "for example \"blocks.3.moe:0,5\"; no other takes their place");
}

void SampleSettings::validate() const {
  guidance_settings().validate();
  const bool digits = seed.find_first_not_of("0123456789") == std::string::npos;
  require(digits, "seed: ", printable_in_quotes(seed),
          " is no whole number: give decimal digits alone, at least 0 and below 2^64");
  require(seed.empty() || whole_number<uint64_t>(seed), "seed: ", printable_in_quotes(seed),
          " is out of range: it must be at least 0 and below 2^64");
  require(!count || *count <= std::numeric_limits<int64_t>::max() - first, "count ",
          count.value_or(0), " samples from first ", first, " on would count beyond 2^63 - 1");
}

diffusion::GuidanceSettings SampleSettings::guidance_settings() const {
  return {
      .scale = guidance, .channels = guidance_channels, .from = guidance_from, .to = guidance_to};
}

void ImageGenerationSettings::fields(config::Visitor& v) {
  v.table("data", data, "what is learned from");
  v.component("model", model, "the network");
  v.component("objective", objective, "how images are noised and what the network learns of it");
  v.effect(config::Effect::free);
  v.table("eval", eval, "loss on held-out data");
  v.table("sample", sample, "how images are drawn");
}

}  // namespace gallop::tasks
