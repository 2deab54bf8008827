#include "gallop/models/dit/dit_config.h"

#include <array>

#include "gallop/base/error.h"
#include "gallop/base/number.h"

namespace gallop::models {

namespace {

struct NamedSize {
  const char* name;
  int64_t depth, width, heads;
};

// S, B, L, XL of DiT; M of Race-DiT.
constexpr std::array<NamedSize, 5> kSizes = {{{"S", 12, 384, 6},
                                              {"B", 12, 768, 12},
                                              {"M", 16, 960, 16},
                                              {"L", 24, 1024, 16},
                                              {"XL", 28, 1152, 16}}};

struct ParsedSize {
  NamedSize named;
  int64_t patch;
};

ParsedSize parse_size(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string name = text.substr(0, slash);
  const int64_t patch =
      slash == std::string::npos ? 0 : whole_number<int64_t>(text.substr(slash + 1)).value_or(0);
  for (const NamedSize& size : kSizes) {
    if (name == size.name && patch > 0) return {size, patch};
  }
  fail("model.size = \"", text,
       "\" is unknown: it is S, B, M, L or XL, a slash and the patch, for example \"B/2\"");
}

int64_t need(const std::optional<int64_t>& value, const char* key) {
  require(value.has_value(), "model.", key,
          " is missing: give it, or a model.size such as \"S/4\"");
  return *value;
}

}  // namespace

void DitSettings::fields(config::Visitor& v) {
  v.field("size", size, "named size and patch: S, B, M, L or XL, a slash, 2, 4 or 8; empty: none");
  v.field("depth", depth, "number of blocks; absent: of the size", config::between(1, 4096));
  v.field("width", width, "width D of a token; absent: of the size", config::between(4, 1 << 20));
  v.field("heads", heads, "attention heads; absent: of the size", config::between(1, 4096));
  v.field("patch", patch, "side of a patch in pixels; absent: of the size",
          config::between(1, 1024));
  v.field("channels", channels, "input channels; absent: of the data", config::between(1, 4096));
  v.field("image", image, "side of the square input; absent: of the data",
          config::between(1, 1 << 16));
  v.field("classes", classes, "number of classes, 0: unconditional; absent: of the data",
          config::between(0, 1 << 30));
  v.field("label_dropout", label_dropout,
          "chance that training hides a label, for classifier-free guidance; 0: no null label",
          config::between(0, 1));
  v.field("learn_sigma", learn_sigma, "twice the output channels; auto: as the objective needs",
          {"auto", "yes", "no"});
  v.field("drop_sigma", drop_sigma,
          "with learned sigma, return the first half of the channels only (SiT)");
  v.component("attention", attention, "how the tokens of a sample look at one another");
  v.component("mlp", mlp, "the feed-forward layer of every block, or of each mlp_every-th");
  v.field("mlp_every", mlp_every, "the last of each so many blocks has mlp, the others other_mlp",
          config::between(1, 4096));
  v.component("other_mlp", other_mlp, "the feed-forward layer of the other blocks");
  v.component("stream", stream, "how sublayers are wired");
  v.component("block_routing", block_routing, "which tokens a block works on, and how often");
}

void DitSettings::validate() const {
  if (!size.empty()) parse_size(size);
}

std::string DitSettings::follow(const config::Stated& stated) {
  const bool all = depth && width && heads && patch;
  if (!stated.has("size") || size.empty() || !all) return {};
  return "size = \"" + size + "\" has no effect: depth, width, heads and patch are all stated";
}

DitSizes resolve(const DitSettings& s, const Denoiser::Args& args) {
  DitSizes sizes{};
  std::optional<int64_t> depth = s.depth, width = s.width, heads = s.heads, patch = s.patch;
  if (!s.size.empty()) {
    const auto [named, named_patch] = parse_size(s.size);
    depth = depth.value_or(named.depth);
    width = width.value_or(named.width);
    heads = heads.value_or(named.heads);
    patch = patch.value_or(named_patch);
  }
  sizes.depth = need(depth, "depth");
  sizes.width = need(width, "width");
  sizes.heads = need(heads, "heads");
  sizes.patch = need(patch, "patch");
  sizes.args = args;
  if (s.channels) sizes.args.channels = *s.channels;
  if (s.image) sizes.args.height = sizes.args.width = *s.image;
  if (s.classes) sizes.args.classes = *s.classes;
  sizes.learn_sigma = s.learn_sigma == "auto" ? args.predicts_sigma : s.learn_sigma == "yes";

  const Denoiser::Args& in = sizes.args;
  require(
      in.channels > 0 && in.height > 0 && in.width > 0,
      "the model does not know its input: give task.model.image and task.model.channels, or data");
  require(sizes.width % sizes.heads == 0, "model.width = ", sizes.width,
          " is not divisible by model.heads = ", sizes.heads);
  require(sizes.width % 4 == 0, "model.width = ", sizes.width,
          " is not divisible by 4, which the 2-D positions need");
  require(s.mlp_every <= sizes.depth, "model.mlp_every = ", s.mlp_every, " is more than the ",
          sizes.depth, " blocks: none would have model.mlp");
  require(in.height % sizes.patch == 0 && in.width % sizes.patch == 0,
          "model.patch = ", sizes.patch, " does not divide the input of ", in.height, "x",
          in.width);
  return sizes;
}

}  // namespace gallop::models
