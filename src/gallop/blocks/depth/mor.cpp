#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "gallop/blocks/depth/block_routing.h"
#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::blocks {
namespace {

struct MorSettings : config::Fields<MorSettings> {
  int64_t recursions = 3;
  double alpha = 0.1;
  std::string choice = "expert";
  sparse::SparseLossesConfig losses;
  void fields(config::Visitor& v) override {
    v.field("recursions", recursions, "times N that a block is applied at most",
            config::at_least(1));
    v.field("choice", choice,
            "each recursion takes its best tokens, or each token says its depth once",
            {"expert", "token"});
    v.field("alpha", alpha, "factor on the gate, for choice = \"expert\"", config::positive());
    v.table("losses", losses, "losses that read the choice of depths");
  }
};

// One block with its weights as all N steps of a recursion, of which a token takes some.
class Mor : public BlockRouting {
 public:
  Mor(const MorSettings& settings, const Args& args)
      : BlockRouting(*args.parent, "routing"),
        settings_(settings),
        tokens_(args.tokens),
        losses_(sparse::make_losses(
            settings.losses,
            {.layers = args.blocks, .layer = this, .choice = sparse::Choice::depth})),
        router_(*this, "weight", {settings.recursions, args.D},
                nn::Init::xavier_uniform(args.D, settings.recursions)) {}

  at::Tensor forward(const at::Tensor& state, const BlockBody& body,
                     const nn::ForwardContext& ctx) const override {
    return settings_.choice == "expert" ? expert_choice(state, body, ctx)
                                        : token_choice(state, body, ctx);
  }

  // Around the recursions: the state of all tokens.
  nn::Activations activations(double tokens) const override {
    const double numbers = tokens * static_cast<double>(router_.shape()[1]);
    return {.kept = numbers, .passing = numbers};
  }

  std::vector<nn::Need> needs() const override { return sparse::needs_of(losses_); }
  bool gives_all_tokens() const override { return false; }
  std::vector<double> shares() const override {
    std::vector<double> shares(N(), 1);
    if (settings_.choice != "expert") return shares;
    for (int64_t r = 1; r <= N(); ++r) {
      shares[r - 1] = static_cast<double>(kept_of(tokens_, r)) / static_cast<double>(tokens_);
    }
    return shares;
  }

 private:
  int64_t N() const { return settings_.recursions; }
  // How many of L tokens recursion r takes.
  int64_t kept_of(int64_t L, int64_t r) const {
    return std::max<int64_t>(1, (N() - r + 1) * L / N());
  }

  // Recursion r takes the best (N-r+1)/N of the tokens, out of those that r-1 took: x += alpha
  // sigmoid(u) block(x).
  at::Tensor expert_choice(at::Tensor state, const BlockBody& body,
                           const nn::ForwardContext& ctx) const {
    const ResidualStream& stream = body.stream;
    const int64_t B = state.size(0), L = state.size(1);
    at::Tensor positions_BK = best_positions(at::zeros({B, L}, state.options()), L);
    at::Tensor first_BLD;
    std::vector<at::Tensor> scores, members;
    for (int64_t r = 1; r <= N(); ++r) {
      const at::Tensor seen_BLD = body.seen(state, ctx);
      if (r == 1) first_BLD = seen_BLD;
      const at::Tensor score_BL = seen_BLD.matmul(router_->select(0, r - 1));
      const at::Tensor candidate_BK = at_positions(score_BL, positions_BK);
      positions_BK = at_positions(positions_BK, best_positions(candidate_BK, kept_of(L, r)));
      const at::Tensor before = stream.take(state, positions_BK);
      const at::Tensor gate_BK =
          at_positions(score_BL, positions_BK).sigmoid().mul(settings_.alpha);
      const at::Tensor step = stream.scale(body.run(before, positions_BK, {}), gate_BK);
      state = stream.put(state, positions_BK, stream.add(before, step));
      scores.push_back(score_BL);
      members.push_back(
          at::zeros({B, L}, state.options().dtype(at::kBool)).scatter(1, positions_BK, 1));
    }
    record(first_BLD, at::stack(scores, -1), at::stack(members, -1), ctx);
    return state;
  }

  // A token's depth is its most probable one; a block that is applied to all tokens counts for
  // those that go on, so those that are done are still attended to as they were left.
  at::Tensor token_choice(const at::Tensor& state, const BlockBody& body,
                          const nn::ForwardContext& ctx) const {
    const ResidualStream& stream = body.stream;
    const at::Tensor x_BLD = body.seen(state, ctx);
    const at::Tensor logits_BLN = x_BLD.matmul(router_->t());
    const at::Tensor first_BLN = ops::topk_mask(logits_BLN.detach().reshape({-1, N()}), 1)
                                     .mask_RN.reshape(logits_BLN.sizes());
    at::Tensor last = state;
    for (int64_t r = 0; r < N(); ++r) {
      const at::Tensor on_BL = first_BLN.narrow(-1, r, N() - r).any(-1);
      last = stream.where(on_BL, body.run(last, {}, {}), last);
    }
    record(x_BLD, logits_BLN, first_BLN, ctx);
    const at::Tensor gate_BL = logits_BLN.softmax(-1).mul(first_BLN).sum(-1);
    return stream.add(state, stream.scale(last, gate_BL));
  }

  void record(const at::Tensor& x_BLD, const at::Tensor& logits_BLN, const at::Tensor& mask_BLN,
              const nn::ForwardContext& ctx) const {
    if (ctx.routing == nullptr) return;
    sparse::add_record(ctx, x_BLD,
                       {.layer = name(),
                        .choice = sparse::Choice::depth,
                        .active = static_cast<double>(mask_BLN.sum().item<int64_t>()) /
                                  static_cast<double>(x_BLD.size(0) * x_BLD.size(1)),
                        .logits_BLE = logits_BLN,
                        .gate_BLE = logits_BLN,
                        .kept = sparse::keep(sparse::Pairs::of_mask(mask_BLN), logits_BLN),
                        .losses = &losses_});
  }

  MorSettings settings_;
  int64_t tokens_;
  std::vector<std::unique_ptr<sparse::SparseLoss>> losses_;
  nn::Parameter router_;
};

const config::RegisterKind<BlockRouting, Mor, MorSettings> registered{
    "mor", "a block is applied up to N times, on fewer tokens each time",
    "Mixture-of-Recursions, arXiv 2507.10524"};

}  // namespace
}  // namespace gallop::blocks
