#include <algorithm>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/depth/block_routing.h"

namespace gallop::sparse {
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

  at::Tensor forward(const at::Tensor& x_BLD, const BlockBody& body,
                     const nn::ForwardContext&) const override {
    if (!router_) return body(x_BLD, {}, {});
    const at::Tensor score_BL = token_scores(*router_, x_BLD);
    const at::Tensor positions_BK = best_positions(score_BL, kept_of(x_BLD.size(1)));
    const at::Tensor x_BKD = at_positions(x_BLD, positions_BK);
    const at::Tensor change_BKD = body(x_BKD, positions_BK, {}).sub(x_BKD);
    const at::Tensor weight_BK1 = at_positions(score_BL, positions_BK).unsqueeze(-1);
    return put_positions(x_BLD, positions_BK, x_BKD.add(change_BKD.mul(weight_BK1)));
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

const config::Register<BlockRouting, ModSettings> registered{
    "mod", "some blocks work on the best tokens of each sample only",
    "Mixture-of-Depths, arXiv 2404.02258",
    [](const ModSettings& settings, const BlockRouting::Args& args) {
      return std::make_unique<Mod>(settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
