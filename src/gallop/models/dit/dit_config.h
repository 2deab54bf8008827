#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gallop/config/follow.h"
#include "gallop/config/schema.h"
#include "gallop/models/denoiser.h"

namespace gallop::models {

/// [model] of kind "dit": DiT (arXiv 2212.09748), and with `mlp = "moe"` Race-DiT (arXiv
/// 2503.16057).
struct DitSettings : config::Fields<DitSettings>, config::Follows {
  std::string size;
  std::optional<int64_t> depth, width, heads, patch;
  std::optional<int64_t> channels, image, classes;
  double label_dropout = 0.1;
  std::string learn_sigma = "auto";
  bool drop_sigma = false;
  int64_t mlp_every = 1;
  config::Component attention{"attention", "full"}, mlp{"mlp", "dense"}, other_mlp{"mlp", "dense"},
      stream{"stream", "plain"}, block_routing{"block_routing", "all"};
  void fields(config::Visitor& v) override;
  void validate() const override;
  /// Says where a `size` has no effect because everything that it stands for is stated itself.
  std::string follow(const config::Stated& stated) override;
};

/// The sizes that a model is built with, all checked.
struct DitSizes {
  int64_t depth, width, heads, patch;
  Denoiser::Args args;
  bool learn_sigma;
  int64_t tokens() const { return (args.height / patch) * (args.width / patch); }
};
DitSizes resolve(const DitSettings& settings, const Denoiser::Args& args);

}  // namespace gallop::models
