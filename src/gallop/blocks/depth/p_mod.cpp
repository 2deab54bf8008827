#include "gallop/blocks/depth/p_mod.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "gallop/base/error.h"
#include "gallop/blocks/depth/block_routing.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"

namespace gallop::blocks {

void PModSettings::fields(config::Visitor& v) {
  v.field("share", share, "of the tokens that every block works on; absent: falls over the depth",
          config::between(0, 1));
  v.field("dense_above", dense_above, "blocks whose share would be above this see all tokens",
          config::between(0, 1));
  v.field("least", least, "share of the last blocks", config::between(0, 1));
  v.field("swing", swing, "how far a token's weight is from 1 at most", config::between(0, 1));
}

double PModSettings::share_of(int64_t index, int64_t blocks) const {
  const double at = blocks > 1 ? static_cast<double>(index) / static_cast<double>(blocks - 1) : 0;
  const double falling = 0.5 * std::cos(std::numbers::pi * at) + 0.5;
  const double wanted = share.value_or(falling);
  return wanted > dense_above ? 1 : std::max(wanted, least);
}

namespace {

// w = 1 + swing tanh(r . x + b). Kept tokens: x + attention + w mlp; the others: w x. Tokens of
// another modality than 0 are always kept and have weight 1.
class PMod : public BlockRouting {
 public:
  PMod(const PModSettings& settings, const Args& args)
      : BlockRouting(*args.parent, "routing"),
        width_(args.D),
        swing_(settings.swing),
        share_(settings.share_of(args.index, args.blocks)) {
    if (share_ == 1) return;
    router_.emplace(*this, "", args.D, 1, nn::LinearOptions{.weight_init = nn::Init::zeros()});
  }

  at::Tensor forward(const at::Tensor& state, const BlockBody& body,
                     const nn::ForwardContext& ctx) const override {
    if (!router_) return body.run(state, {}, {});
    at::Tensor weight_BL = token_scores(*router_, body.seen(state, ctx)).tanh().mul(swing_).add(1);
    at::Tensor key_BL = weight_BL.detach();
    int64_t always = 0;
    if (ctx.modality_BL.defined()) {
      const at::Tensor fixed_BL = ctx.modality_BL.ne(0);
      const at::Tensor count_B = fixed_BL.sum(1);
      always = count_B[0].item<int64_t>();
      require(count_B.eq(always).all().item<bool>(), name(),
              ": all samples of a batch need the same number of tokens that are always kept");
      weight_BL = weight_BL.masked_fill(fixed_BL, 1);
      key_BL = key_BL.masked_fill(fixed_BL, std::numeric_limits<double>::infinity());
    }
    const ResidualStream& stream = body.stream;
    const int64_t kept = kept_of(weight_BL.size(1) - always);
    const at::Tensor skipped = stream.scale(state, weight_BL);
    if (kept + always == 0) return skipped;
    const at::Tensor positions_BK = best_positions(key_BL, kept + always);
    return stream.put(skipped, positions_BK,
                      body.run(stream.take(state, positions_BK), positions_BK,
                               at_positions(weight_BL, positions_BK)));
  }

  // Around the block: what it works on.
  nn::Activations activations(double tokens) const override {
    if (!router_) return {};
    const double numbers = tokens * static_cast<double>(width_) * share_;
    return {.kept = numbers, .passing = numbers};
  }

  bool gives_all_tokens() const override { return !router_; }
  std::vector<double> shares() const override { return {share_}; }

 private:
  // A share of some is no share of none.
  int64_t kept_of(int64_t routed) const {
    const auto kept = static_cast<int64_t>(share_ * static_cast<double>(routed) + 1e-9);
    return share_ > 0 && routed > 0 ? std::max<int64_t>(1, kept) : kept;
  }

  int64_t width_;
  double swing_, share_;
  std::optional<nn::Linear> router_;
};

const config::RegisterKind<BlockRouting, PMod, PModSettings> registered{
    "p_mod", "later blocks work on fewer of the best tokens; all tokens are reweighted",
    "p-MoD, arXiv 2412.04449"};

}  // namespace
}  // namespace gallop::blocks
