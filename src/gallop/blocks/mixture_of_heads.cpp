#include <ATen/ops/cat.h>

#include <optional>

#include "gallop/base/error.h"
#include "gallop/blocks/attention.h"
#include "gallop/config/registry.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/choice/chooser.h"
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

nn::LinearOptions router_options() {
  return {.bias = false, .attributes = {.beside = true, .role = nn::Role::router}};
}

// W, under the name that it has in published weights.
class HeadRouter : public sparse::Router {
 public:
  HeadRouter(nn::Module& parent, int64_t D, int64_t heads)
      : Router(parent, ""), linear_(*this, "wg", D, heads, router_options()) {}
  sparse::Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext&) const override {
    return {.logits_BLE = linear_.forward(x_BLD)};
  }

 private:
  nn::Linear linear_;
};

// k p / sum of the chosen p.
class HeadWeighting : public sparse::Weighting {
 public:
  explicit HeadWeighting(int64_t active) : active_(active) {}
  at::Tensor weights(const sparse::Scores& scores,
                     const sparse::Selected& selected) const override {
    const at::Tensor kept_BLR = scores.gate_BLE.mul(selected.mask_BLE());
    return kept_BLR.div(kept_BLR.sum(-1, /*keepdim=*/true)).mul(active_);
  }

 private:
  int64_t active_;
};

// MoH by its code: each head's output is multiplied by a gate. With S shared heads and k of the R
// others, shared ones have 2 a_0 S softmax(W_1 x), chosen ones 2 a_1 k p / sum of the chosen p,
// with p = softmax(W x) and a = softmax(W_0 x); with one kind of head alone, 2 a is left out. Zero
// gate weights make every gate of a used head 1.
class MixtureOfHeads : public MultiHead, public sparse::Chooses {
 public:
  MixtureOfHeads(const MixtureOfHeadsSettings& settings, const Args& args)
      : MultiHead(args),
        width_(static_cast<double>(args.D)),
        shared_(settings.shared),
        active_(settings.active),
        losses_(sparse::make_losses(
            settings.losses,
            {.layers = args.layers, .layer = this, .choice = sparse::Choice::head})) {
    const int64_t routed = args.heads - shared_;
    require(active_ <= routed, name(), ": ", shared_, " shared and ", active_,
            " chosen heads are more than the ", args.heads, " there are");
    require(active_ > 0 || routed == 0, name(), ": no token would use ", routed,
            " of the heads: give attention.active, or share all");
    sparse::require_shown(name(), losses_, {}, "the attention 'moh' does not show");
    if (active_ > 0) choose_among(routed, args.D);
    if (active_ > 0 && shared_ > 0) kinds_.emplace(*this, "wg_0", args.D, 2, router_options());
    // A softmax over one head is 1.
    if (shared_ > 1) among_shared_.emplace(*this, "wg_1", args.D, shared_, router_options());
  }

  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor gates_BLN = gates(x_BLD, ctx);
    if (ctx.taps != nullptr) ctx.taps->add(name() + ".gates", gates_BLN);
    const at::Tensor heads_BLNd = of_heads(x_BLD).unflatten(-1, {heads(), -1});
    return project(heads_BLNd.mul(gates_BLN.unsqueeze(-1)).flatten(2));
  }

  std::vector<nn::Need> needs() const override { return sparse::needs_of(losses_); }
  const sparse::Chooser* chooser() const override { return chooser_ ? &*chooser_ : nullptr; }

  // The heads before their gates.
  nn::Activations activations(double tokens) const override {
    const double T = tokens * parameters().front()->attributes().uses;
    const double of_gates = T * 4 * static_cast<double>(heads());
    return {.kept = T * width_ + of_gates,
            .passing = T * width_ + of_gates,
            .recorded = active_ > 0 ? of_gates : 0};
  }

 private:
  void choose_among(int64_t heads, int64_t D) {
    const auto active = static_cast<double>(active_);
    sparse::Chooser::Parts parts{
        .router = std::make_unique<HeadRouter>(*this, D, heads),
        .gate = config::make<sparse::Gate>(config::Component("gate", "softmax"), {}),
        .selection = config::make<sparse::Selection>(
            config::Component("selection", "token"),
            {.parent = this, .experts = heads, .active = active, .D = D}),
        .weighting = std::make_unique<HeadWeighting>(active_)};
    chooser_.emplace(std::move(parts), sparse::Chooser::Args{.parent = this,
                                                             .choice = sparse::Choice::head,
                                                             .D = D,
                                                             .candidates = heads,
                                                             .active = active,
                                                             .losses = &losses_});
  }

  // [B, L, N]; the order of their scores decides, so they stay float32.
  at::Tensor gates(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
    const ops::PrecisionGuard exact(ops::Precision::float32);
    std::vector<at::Tensor> gates;
    if (shared_ > 0) gates.push_back(of_shared(x_BLD));
    if (active_ > 0) gates.push_back(chooser_->choose(x_BLD, ctx).weights_BLE());
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

  double width_;
  int64_t shared_, active_;
  std::vector<std::unique_ptr<sparse::SparseLoss>> losses_;
  std::optional<sparse::Chooser> chooser_;
  std::optional<nn::Linear> kinds_, among_shared_;
};

const config::RegisterKind<Attention, MixtureOfHeads, MixtureOfHeadsSettings> registered{
    "moh", "heads as experts: some shared, some chosen by each token, weighted by gates",
    "MoH, arXiv 2410.11842"};

}  // namespace
}  // namespace gallop::blocks
