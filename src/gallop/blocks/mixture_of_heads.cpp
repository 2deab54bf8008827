#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <optional>

#include "gallop/base/error.h"
#include "gallop/blocks/attention.h"
#include "gallop/config/registry.h"
#include "gallop/ops/precision.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::blocks {
namespace {

struct MixtureOfHeadsSettings : config::Fields<MixtureOfHeadsSettings> {
  int64_t shared = 2, active = 2;
  sparse::SparseLossesConfig losses;
  void fields(config::Visitor& v) override {
    v.field("shared", shared, "heads that all tokens use, the first ones", config::at_least(0));
    v.field("active", active, "heads that a token uses of the others; 0: all heads are shared",
            config::at_least(0));
    v.table("losses", losses, "losses that read which heads were chosen");
  }
};

// MoH by its code: each head's output is multiplied by a gate. With S shared heads and k of the R
// others, shared ones have 2 a_0 S softmax(W_1 x), chosen ones 2 a_1 k p / sum of the chosen p,
// with p = softmax(W x) and a = softmax(W_0 x); with one kind of head alone, 2 a is left out. Zero
// gate weights make every gate of a used head 1.
class MixtureOfHeads : public MultiHead {
 public:
  MixtureOfHeads(const MixtureOfHeadsSettings& settings, const Args& args)
      : MultiHead(args),
        width_(static_cast<double>(args.D)),
        shared_(settings.shared),
        active_(settings.active),
        losses_(sparse::make_losses(settings.losses, {.layers = args.layers})) {
    const int64_t routed = args.heads - shared_;
    require(active_ <= routed, name(), ": ", shared_, " shared and ", active_,
            " chosen heads are more than the ", args.heads, " there are");
    require(active_ > 0 || routed == 0, name(), ": no token would use ", routed,
            " of the heads: give attention.active, or share all");
    sparse::require_shown(name(), losses_, {}, "the attention 'moh' does not show");
    const nn::LinearOptions no_bias{.bias = false,
                                    .attributes = {.beside = true, .role = nn::Role::router}};
    if (active_ > 0) choice_.emplace(*this, "wg", args.D, routed, no_bias);
    if (active_ > 0 && shared_ > 0) kinds_.emplace(*this, "wg_0", args.D, 2, no_bias);
    // A softmax over one head is 1.
    if (shared_ > 1) among_shared_.emplace(*this, "wg_1", args.D, shared_, no_bias);
  }

  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor gates_BLN = gates(x_BLD, ctx);
    if (ctx.taps != nullptr) ctx.taps->add(name() + ".gates", gates_BLN);
    const at::Tensor heads_BLNd = of_heads(x_BLD).unflatten(-1, {heads(), -1});
    return project(heads_BLNd.mul(gates_BLN.unsqueeze(-1)).flatten(2));
  }

  std::vector<nn::Need> needs() const override { return sparse::needs_of(losses_); }

  // The heads before their gates.
  nn::Activations activations(double tokens) const override {
    const double T = tokens * parameters().front()->attributes().uses;
    const double of_gates = T * 4 * static_cast<double>(heads());
    return {.kept = T * width_ + of_gates,
            .passing = T * width_ + of_gates,
            .recorded = active_ > 0 ? of_gates : 0};
  }

 private:
  // [B, L, N]; the order of their scores decides, so they stay float32.
  at::Tensor gates(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
    const ops::PrecisionGuard exact(ops::Precision::float32);
    std::vector<at::Tensor> gates;
    if (shared_ > 0) gates.push_back(of_shared(x_BLD));
    if (active_ > 0) gates.push_back(of_chosen(x_BLD, ctx));
    if (kinds_) {
      const at::Tensor twice_BL2 = kinds_->forward(x_BLD).softmax(-1).mul(2);
      for (int64_t i = 0; i < 2; ++i) gates[i] = gates[i].mul(twice_BL2.narrow(-1, i, 1));
    }
    return at::cat(gates, -1);
  }

  at::Tensor of_shared(const at::Tensor& x_BLD) const {
    if (!among_shared_) return x_BLD.new_ones({x_BLD.size(0), x_BLD.size(1), 1});
    return among_shared_->forward(x_BLD).softmax(-1).mul(shared_);
  }

  at::Tensor of_chosen(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
    const at::Tensor logits_BLR = choice_->forward(x_BLD), p_BLR = logits_BLR.softmax(-1);
    at::Tensor mask_BLR;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor p_TR = p_BLR.flatten(0, 1).contiguous();
      mask_BLR = ops::topk_mask(p_TR, active_).mask_RN.reshape(p_BLR.sizes());
    }
    const at::Tensor kept_BLR = p_BLR.mul(mask_BLR);
    const at::Tensor gate_BLR = kept_BLR.div(kept_BLR.sum(-1, /*keepdim=*/true)).mul(active_);
    if (ctx.routing != nullptr) {
      ctx.routing->push_back({.layer = name(),
                              .choice = sparse::Choice::head,
                              .active = static_cast<double>(active_),
                              .logits_BLE = logits_BLR,
                              .gate_BLE = p_BLR,
                              .mask_BLE = mask_BLR,
                              .chosen_BLE = mask_BLR,
                              .assignment = sparse::make_assignment(mask_BLR, gate_BLR),
                              .x_BLD = ctx.training ? x_BLD : at::Tensor(),
                              .label_B = ctx.label_B,
                              .timestep_B = ctx.timestep_B,
                              .losses = &losses_});
    }
    return gate_BLR;
  }

  double width_;
  int64_t shared_, active_;
  std::vector<std::unique_ptr<sparse::SparseLoss>> losses_;
  std::optional<nn::Linear> choice_, kinds_, among_shared_;
};

const config::Register<Attention, MixtureOfHeadsSettings> registered{
    "moh", "heads as experts: some shared, some chosen by each token, weighted by gates",
    "MoH, arXiv 2410.11842",
    [](const MixtureOfHeadsSettings& settings, const Attention::Args& args) {
      return std::make_unique<MixtureOfHeads>(settings, args);
    }};

}  // namespace
}  // namespace gallop::blocks
