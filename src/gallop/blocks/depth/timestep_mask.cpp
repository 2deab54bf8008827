#include <ATen/ops/silu.h>

#include "gallop/base/error.h"
#include "gallop/blocks/depth/block_routing.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/ops/precision.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/experts/grouped.h"
#include "gallop/sparse/losses/diffusion_prior.h"

namespace gallop::blocks {
namespace {

struct TimestepMaskSettings : config::Fields<TimestepMaskSettings> {
  int64_t experts = 3, active = 2, timesteps = 1000;
  double prior = 0;
  void fields(config::Visitor& v) override {
    v.field("experts", experts, "linear maps that make the mask", config::at_least(1));
    v.field("active", active, "of them that a noise level uses", config::at_least(1));
    v.field("prior", prior,
            "weight of the loss that ties the choice to a table of noise levels, 1 in Switch-DiT; "
            "for the objective ddpm",
            config::at_least(0));
    v.field("timesteps", timesteps, "noise levels of that table", config::at_least(1));
  }
  void validate() const override {
    require(active <= experts, "block_routing: ", active, " active experts of ", experts);
  }
};

// m = 1 + sum of the best p_j (V_j x + c_j), p = softmax(W silu(timestep embedding) + b); x <-
// block(m x) + (1 - m) x. The maps start at zero, so at first m = 1.
class TimestepMask : public BlockRouting {
 public:
  TimestepMask(const TimestepMaskSettings& settings, const Args& args)
      : BlockRouting(*args.parent, "routing"),
        active_(settings.active),
        timesteps_(settings.prior > 0 ? settings.timesteps : 0),
        gate_(*this, "gate", args.D, settings.experts, {.attributes = {.per_sample = true}}),
        weight_(*this, "experts.weight", {settings.experts, args.D, args.D}, nn::Init::zeros(),
                share(settings)),
        bias_(*this, "experts.bias", {settings.experts, args.D}, nn::Init::zeros(),
              nn::of_bias(share(settings))) {
    if (settings.prior > 0) {
      losses_.push_back(std::make_unique<sparse::DiffusionPrior>(settings.prior, settings.active));
    }
  }

  std::vector<nn::Need> needs() const override {
    return {{.what = nn::Given::time, .by = "the block routing 'timestep_mask'"}};
  }
  int64_t time_table() const override { return timesteps_; }

  at::Tensor forward(const at::Tensor& state, const BlockBody& body,
                     const nn::ForwardContext& ctx) const override {
    require(ctx.time_embedding_BD.defined(), name(),
            ": a timestep mask needs a model that embeds a timestep");
    const at::Tensor x_BLD = body.seen(state, ctx);
    const int64_t L = x_BLD.size(1), E = weight_.shape()[0];
    const at::Tensor logits_BE = logits(ctx.time_embedding_BD);
    const at::Tensor p_BE = logits_BE.softmax(-1);
    const at::Tensor kept_BE = ops::topk_mask(p_BE.detach(), active_).mask_RN;
    const auto for_tokens = [&](const at::Tensor& of_BE) {
      return of_BE.unsqueeze(1).expand({-1, L, E});
    };
    const sparse::Kept pairs =
        sparse::keep(sparse::Pairs::of_mask(for_tokens(kept_BE)), for_tokens(p_BE));
    if (ctx.time_table_TD.defined() && ctx.routing != nullptr) {
      // What the prior reads: the choice of every noise level.
      const at::Tensor logits_TE = logits(ctx.time_table_TD);
      sparse::add_record(ctx, x_BLD,
                         {.layer = name(),
                          .choice = sparse::Choice::mask,
                          .active = static_cast<double>(active_),
                          .logits_BLE = for_tokens(logits_BE),
                          .gate_BLE = for_tokens(p_BE),
                          .kept = pairs,
                          .extras = {{"probabilities", logits_TE.softmax(-1)}},
                          .losses = &losses_});
    }
    const at::Tensor x_TD = x_BLD.flatten(0, 1);
    const at::Tensor y_PD =
        sparse::grouped_linear(x_TD.index_select(0, pairs.token_P()), pairs, *weight_, *bias_);
    const at::Tensor mask_BLD = sparse::combine(y_PD, pairs, x_TD).reshape(x_BLD.sizes()).add(1);
    const ResidualStream& stream = body.stream;
    const at::Tensor masked = stream.scale(state, mask_BLD);
    return stream.add(body.run(masked, {}, {}), stream.subtract(state, masked));
  }

  // The rows of the chosen maps, the mask and what it makes of the token.
  nn::Activations activations(double tokens) const override {
    const auto D = static_cast<double>(weight_.shape()[1]);
    const double numbers = tokens * D * (2 * static_cast<double>(active_) + 3);
    return {.kept = numbers, .passing = numbers};
  }

 private:
  // Their order decides, so they stay float32.
  at::Tensor logits(const at::Tensor& time_embedding_BD) const {
    const ops::PrecisionGuard exact(ops::Precision::float32);
    return gate_.forward(at::silu(time_embedding_BD));
  }
  static nn::Attributes share(const TimestepMaskSettings& settings) {
    return {.share_used =
                static_cast<double>(settings.active) / static_cast<double>(settings.experts)};
  }

  int64_t active_, timesteps_;
  std::vector<std::unique_ptr<sparse::SparseLoss>> losses_;
  nn::Linear gate_;
  nn::Parameter weight_, bias_;
};

const config::RegisterKind<BlockRouting, TimestepMask, TimestepMaskSettings> registered{
    "timestep_mask", "a mask on the block's input, from linear maps that the noise level chooses",
    "Switch-DiT, arXiv 2403.09176"};

}  // namespace
}  // namespace gallop::blocks
