#include "gallop/sparse/choice/chooser.h"

#include <ATen/ops/ones.h>

#include <algorithm>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/choice/pooled_selection.h"
#include "gallop/sparse/choice/shown.h"
#include "gallop/sparse/choice/switched_off.h"

namespace gallop::sparse {

namespace {

// More columns than that, and the weights are made of the kept scores alone. Below, sums over all
// columns keep the order of additions that they always had.
constexpr int64_t wide = 4096;

// The pairs of scores [B, queries, places] as pairs of tokens and candidates.
struct Found {
  Pairs pairs;
  at::Tensor place_P;  ///< where the score of each stands among all
};

Found of_candidates(const Pairs& columns, const at::Tensor& candidates_BQC,
                    const Pairs::Shape& shape) {
  const int64_t queries = columns.tokens() / std::max<int64_t>(1, shape.tokens);
  // By query, so that the tokens of a candidate ascend.
  const at::Tensor by_query_P = std::get<0>(columns.place_P().sort());
  const at::Tensor candidate_P = candidates_BQC.reshape(-1).index_select(0, by_query_P);
  const at::Tensor order_P = order_by_candidate(candidate_P, shape.candidates);
  const at::Tensor place_P = by_query_P.index_select(0, order_P);
  return {.pairs = Pairs::of_sorted(
              shape, place_P.floor_divide(std::max<int64_t>(1, columns.candidates() * queries)),
              candidate_P.index_select(0, order_P)),
          .place_P = place_P};
}

}  // namespace

void ChooserSettings::choice_fields(config::Visitor& v) {
  v.component("router", router, "from a token to its scores");
  v.component("gate", gate, "from scores to combine weights");
  v.component("selection", selection, "which (token, expert) pairs are kept");
  v.component("weights", weighting, "what the outputs of a token's experts are multiplied by");
}

// A selection over what nobody gives it would keep every pair, or none.
void Chooser::require_shown(const ChooserSettings& settings, const Parts& parts,
                            const std::string& layer) {
  std::vector<std::string> shown = parts.router->shows();
  for (const std::string& part : parts.gate->shows()) shown.push_back(part);
  sparse::require_shown(layer, "the selection '" + settings.selection.kind() + "'",
                        {.needed = parts.selection->needs_shown(),
                         .shown = std::move(shown),
                         .by = "neither the router '" + settings.router.kind() +
                               "' nor the gate '" + settings.gate.kind() + "' shows"},
                        "choose the part that it is made for");
}

Chooser::Parts Chooser::make_parts(const ChooserSettings& settings, const Args& args) {
  const std::string& layer = args.parent->name();
  Parts parts{.weighting = config::make<Weighting>(settings.weighting, {})};
  parts.router = config::make<Router>(settings.router, {.parent = args.parent,
                                                        .D = args.D,
                                                        .experts = args.candidates,
                                                        .active = args.active,
                                                        .target_width = args.target_width});
  const std::optional<Router::Listing> listing = parts.router->listing();
  // To a gate and a selection, a place of a list is a candidate, and a query a token.
  const int64_t columns = listing ? listing->places : args.candidates;
  const int64_t queries = listing ? listing->queries : 1;
  parts.gate =
      config::make<Gate>(settings.gate, {.parent = args.parent, .D = args.D, .experts = columns});
  parts.selection = config::make<Selection>(settings.selection,
                                            {.parent = args.parent,
                                             .experts = columns,
                                             .tokens = args.tokens * queries,
                                             .active = args.active / static_cast<double>(queries),
                                             .D = args.D});
  require(!listing || parts.gate->takes_lists(), layer, ": the gate '", settings.gate.kind(),
          "' compares tokens candidate by candidate, and with the router '", settings.router.kind(),
          "' each token scores others; choose another gate");
  require(!listing || parts.selection->takes_lists(), layer, ": the selection '",
          settings.selection.kind(), "' needs the scores of all candidates, and with the router '",
          settings.router.kind(),
          "' each token scores a list of its own; choose 'token', 'race' or 'top_p'");
  require_shown(settings, parts, layer);
  parts.router->decides();
  parts.gate->decides();
  parts.selection->decides();
  return parts;
}

Chooser::Chooser(const ChooserSettings& settings, const Args& args)
    : Chooser(make_parts(settings, args), args) {}

Chooser::Chooser(Parts parts, const Args& args)
    : args_(args), parts_(std::move(parts)), listing_(parts_.router->listing()) {
  check_kept();
}

// Pools keep whole numbers: K = floor(k * pool / E), as Expert Race defines it.
void Chooser::check_kept() const {
  const std::optional<double> kept = parts_.selection->kept_a_token();
  require(
      !kept || *kept > 0, parts_.selection->name(), ": ", args_.active,
      " active experts a token are less than one pair of each pool of this selection: no expert "
      "would ever run; more active experts, or a selection over the batch (race, bl)");
}

std::vector<std::string> Chooser::shows() const {
  std::vector<std::string> shown = parts_.router->shows();
  for (const std::string& part : parts_.gate->shows()) shown.push_back(part);
  for (const std::string& part : parts_.selection->shows()) shown.push_back(part);
  return shown;
}

double Chooser::scores_a_token() const {
  if (!listing_) return static_cast<double>(args_.candidates);
  return static_cast<double>(listing_->queries * listing_->places);
}

Kept Chooser::weigh(const Scores& scores, const Selected& selected,
                    const at::Tensor& candidates_BLE, const at::Tensor& x_BLD) const {
  const Pairs::Shape shape{
      .samples = x_BLD.size(0), .tokens = x_BLD.size(1), .candidates = args_.candidates};
  if (candidates_BLE.defined()) {
    const at::Tensor weights_BLE = parts_.weighting->weights(scores, selected);
    const Found kept = of_candidates(selected.pairs, candidates_BLE, shape);
    Kept result(kept.pairs, weights_BLE.reshape(-1).index_select(0, kept.place_P));
    if (selected.before_drops.defined()) {
      result.before_drops = of_candidates(selected.before_drops, candidates_BLE, shape).pairs;
    }
    return result;
  }
  const at::Tensor& lists_BLK = selected.pairs.lists_BLK();
  const bool few =
      lists_BLK.defined() && !selected.before_drops.defined() && scores.gate_BLE.size(-1) > wide;
  if (!few) {
    Kept result = keep(selected.pairs, parts_.weighting->weights(scores, selected));
    result.before_drops = selected.before_drops;
    return result;
  }
  // The kept scores are lists by themselves, of which everything is kept.
  const auto listed = [&](const at::Tensor& x_BLE) { return x_BLE.gather(-1, lists_BLK); };
  const Scores short_scores{.logits_BLE = listed(scores.logits_BLE),
                            .gate_BLE = listed(scores.gate_BLE),
                            .key_BLE = listed(scores.key_BLE),
                            .x_BLD = scores.x_BLD};
  const Selected all{
      .pairs = Pairs::of_mask(at::ones(lists_BLK.sizes(), lists_BLK.options().dtype(at::kBool)))};
  return weigh(short_scores, all, lists_BLK, x_BLD);
}

Kept Chooser::choose(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
  const ops::PrecisionGuard exact(ops::Precision::float32);
  Routed routed = parts_.router->forward(x_BLD, ctx);  // [B, L, E]
  Scores scores = parts_.gate->scores({routed.logits_BLE, x_BLD});
  scores.x_BLD = x_BLD;
  Selected selected = parts_.selection->select(scores, ctx);
  if (selected.gate_BLE.defined()) scores.gate_BLE = selected.gate_BLE;
  Kept kept = weigh(scores, selected, routed.candidates_BLE, x_BLD);
  kept.pools = parts_.selection->pools();
  if (ctx.training && kept.count() == 0 && selected.kappa.defined()) {
    // Pools keep a fixed number of pairs, which is 0 here.
    const int64_t pairs = scores.logits_BLE.numel(), rows = selected.kappa.numel();
    require(
        pairs == 0, parts_.selection->name(), ": ",
        nothing_kept(args_.active, rows == 0 ? pairs : pairs / rows, scores.logits_BLE.size(-1)));
  }
  if (ctx.switched_off != nullptr) kept = ctx.switched_off->left(args_.parent->name(), kept);
  if (ctx.routing != nullptr) {
    routed.extras.merge(selected.extras);
    add_record(
        ctx, x_BLD,
        {.layer = args_.parent->name(),
         .choice = args_.choice,
         .active = args_.active,
         .logits_BLE = scores.logits_BLE,
         .gate_BLE = scores.gate_BLE,
         .kept = kept,
         .head_BLH = routed.head_BLH,
         .compared_BLE = selected.compared_BLE.defined() ? selected.compared_BLE : scores.gate_BLE,
         .kappa = selected.kappa,
         .extras = std::move(routed.extras),
         .losses = args_.losses,
         .pending = std::move(selected.pending),
         .selection = parts_.selection.get()});
  }
  return kept;
}

}  // namespace gallop::sparse
