#include <algorithm>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/blocks/depth/block_routing.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"

namespace gallop::blocks {
namespace {

struct ModSettings : config::Fields<ModSettings> {
  double share = 0.125;
  int64_t every = 2;
  void fields(config::Visitor& v) override {
    v.field("share", share, "of a sample's tokens that a routed block works on",
            config::between(0, 1));
    v.field("every", every, "every how many blocks one is routed; the others see all tokens",
            config::at_least(1));
  }
};

// The best tokens of each sample: x + r (block(x) - x) with r = w . x + b; the others pass by. A
// sample knows all its tokens at once, so inference chooses as training does.
class Mod : public BlockRouting {
 public:
  Mod(const ModSettings& settings, const Args& args)
      : BlockRouting(*args.parent, "routing"),
        share_(settings.share),
        tokens_(args.tokens),
        width_(args.D) {
    require(share_ > 0, name(), ": block_routing.share = 0 leaves a block no token at all");
    if (args.index % settings.every == settings.every - 1) router_.emplace(*this, "", args.D, 1);
  }

  at::Tensor forward(const at::Tensor& state, const BlockBody& body,
                     const nn::ForwardContext& ctx) const override {
    if (!router_) return body.run(state, {}, {});
    const ResidualStream& stream = body.stream;
    const at::Tensor score_BL = token_scores(*router_, body.seen(state, ctx));
    const at::Tensor positions_BK = best_positions(score_BL, kept_of(score_BL.size(1)));
    const at::Tensor before = stream.take(state, positions_BK);
    const at::Tensor change = stream.subtract(body.run(before, positions_BK, {}), before);
    const at::Tensor weight_BK = at_positions(score_BL, positions_BK);
    return stream.put(state, positions_BK, stream.add(before, stream.scale(change, weight_BK)));
  }

  // Around the block: what it changes.
  nn::Activations activations(double tokens) const override {
    if (!router_) return {};
    const double numbers = tokens * static_cast<double>(width_) * shares()[0];
    return {.kept = numbers, .passing = numbers};
  }

  bool gives_all_tokens() const override { return !router_; }
  std::vector<double> shares() const override {
    if (!router_) return {1};
    return {static_cast<double>(kept_of(tokens_)) / static_cast<double>(tokens_)};
  }

 private:
  int64_t kept_of(int64_t L) const {
    return std::max<int64_t>(1, static_cast<int64_t>(share_ * static_cast<double>(L) + 1e-9));
  }

  double share_;
  int64_t tokens_, width_;
  std::optional<nn::Linear> router_;
};

const config::RegisterKind<BlockRouting, Mod, ModSettings> registered{
    "mod", "some blocks work on the best tokens of each sample only",
    "Mixture-of-Depths, arXiv 2404.02258"};

}  // namespace
}  // namespace gallop::blocks
