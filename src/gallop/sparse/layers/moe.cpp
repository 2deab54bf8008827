#include "gallop/sparse/layers/moe.h"

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/config/registry.h"
#include "gallop/config/value.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {

namespace {

constexpr int64_t kMostExperts = 1 << 20;

}  // namespace

void MoeSettings::fields(config::Visitor& v) {
  v.field("setting", setting, "short for experts and active: \"k-in-E\", for example \"4-in-32\"");
  v.field("experts", experts, "candidates E a token chooses from",
          config::between(1, kMostExperts));
  v.field("active", active,
          "experts k a token uses on average; fractional where the selection allows it",
          config::positive());
  v.field("split", split, "hidden split: an expert is 4*width/split wide; absent: k, rounded up",
          config::at_least(1));
  v.field("hidden", hidden, "width of one expert; absent: 4*width/split", config::at_least(1));
  v.component("router", router, "from a token to its scores");
  v.component("gate", gate, "from scores to combine weights");
  v.component("selection", selection, "which (token, expert) pairs are kept");
  v.component("weights", weighting, "what the outputs of a token's experts are multiplied by");
  v.component("expert", kind_of_experts, "what runs on the kept pairs");
  v.table("losses", losses, "losses that read the routing");
}

void MoeSettings::validate() const { candidates(); }

namespace {

std::optional<MoeSettings::Candidates> read_setting(const std::string& setting) {
  const size_t middle = setting.find("-in-");
  if (middle == std::string::npos) return std::nullopt;
  const auto active = finite_number(setting.substr(0, middle));
  const auto experts = whole_number<int64_t>(setting.substr(middle + 4));
  const bool possible =
      active && *active > 0 && experts && *experts > 0 && *experts <= kMostExperts;
  if (!possible) return std::nullopt;
  return MoeSettings::Candidates{.experts = *experts, .active = *active};
}

MoeSettings::Candidates parse_setting(const std::string& setting) {
  if (const auto found = read_setting(setting)) return *found;
  fail("mlp.setting = \"", setting, "\" is not of the form \"k-in-E\", for example \"4-in-32\"");
}

// "experts = 4, active = 2.0"
std::string shown(const MoeSettings::Candidates& candidates) {
  return "experts = " + config::to_text(candidates.experts) +
         ", active = " + config::to_text(candidates.active);
}

}  // namespace

std::string MoeSettings::follow(const config::Stated& stated) {
  std::string ignored;
  if (stated.has("hidden") && stated.has("split")) {
    require(stated.in_file, "hidden and split both say how wide an expert is: give one of the two");
    ignored = "hidden = " + std::to_string(*hidden) + " counts, and split beside it does not";
    split.reset();
  } else if (stated.has("hidden")) {
    split.reset();
  } else if (stated.has("split")) {
    hidden.reset();
  }

  const bool has_experts = stated.has("experts"), has_active = stated.has("active");
  const bool short_form = stated.has("setting") && !setting.empty();
  if (!short_form && (has_experts || has_active)) setting.clear();
  // One of another form is refused by validate().
  if (const auto said = short_form ? read_setting(setting) : std::nullopt) {
    const Candidates beside{.experts = experts, .active = active};
    const bool agree =
        (!has_experts || experts == said->experts) && (!has_active || active == said->active);
    // The config.toml of older runs states all three, and the two beside the setting did not hold.
    require(agree || (stated.in_file && has_experts && has_active), "setting = \"", setting,
            "\" says ", shown(*said), ", and beside it stands ", shown(beside),
            ": leave out the one or the other");
    if (!agree) {
      ignored += std::string(ignored.empty() ? "" : "; ") + "setting = \"" + setting +
                 "\" counts, and " + shown(beside) + " beside it do not";
    }
    experts = said->experts;
    active = said->active;
  }
  return ignored;
}

MoeSettings::Candidates MoeSettings::candidates() const {
  const Candidates found =
      setting.empty() ? Candidates{.experts = experts, .active = active} : parse_setting(setting);
  require(found.active <= static_cast<double>(found.experts), "mlp: ", found.active,
          " active experts of ", found.experts, ": a token cannot use more experts than there are");
  return found;
}

int64_t MoeSettings::hidden_of(int64_t D) const {
  if (hidden) return *hidden;
  const int64_t parts = split.value_or(static_cast<int64_t>(std::ceil(candidates().active)));
  require((4 * D) % parts == 0, "mlp: the hidden width 4*", D, " is not divisible by the split ",
          parts, "; give mlp.hidden or another mlp.split");
  return 4 * D / parts;
}

Moe::Moe(const MoeSettings& settings, const Args& args)
    : FeedForward(*args.parent, "moe"),
      active_(settings.candidates().active),
      experts_count_(settings.candidates().experts),
      losses_(make_losses(settings.losses, {.layers = args.layers})),
      weighting_(config::make<Weighting>(settings.weighting, {})) {
  const auto [E, k] = settings.candidates();
  bool head = false;
  for (const auto& loss : losses_) head = head || loss->needs_head();
  router_ = config::make<Router>(
      settings.router,
      {.parent = this, .D = args.D, .experts = E, .target_width = head ? args.target_width : 0});
  gate_ = config::make<Gate>(settings.gate, {.parent = this, .D = args.D, .experts = E});
  selection_ = config::make<Selection>(
      settings.selection,
      {.parent = this, .experts = E, .tokens = args.tokens, .active = k, .D = args.D});
  std::vector<std::string> shown = router_->shows();
  for (const std::string& part : selection_->shows()) shown.push_back(part);
  require_shown(name(), losses_, shown,
                "neither the router '" + settings.router.kind() + "' nor the selection '" +
                    settings.selection.kind() + "' shows");
  router_->decides();
  gate_->decides();
  selection_->decides();
  check_kept(k);
  experts_ = config::make<Experts>(settings.kind_of_experts, {.parent = this,
                                                              .D = args.D,
                                                              .experts = E,
                                                              .hidden = settings.hidden_of(args.D),
                                                              .active = k});
  router_->bind(*experts_);
}

// Pools keep whole numbers: K = floor(k * pool / E), as Expert Race defines it.
void Moe::check_kept(double active) const {
  const std::optional<double> kept = selection_->kept_a_token();
  require(
      !kept || *kept > 0, selection_->name(), ": ", active,
      " active experts a token are less than one pair of each pool of this selection: no expert "
      "would ever run; more active experts, or a selection over the batch (race, bl)");
}

at::Tensor Moe::forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
  // The order of the scores decides: they, and what is made of them, stay float32.
  const ops::Precision of_experts = ops::PrecisionGuard::active();
  const ops::PrecisionGuard exact(ops::Precision::float32);
  Routed routed = router_->forward(x_BLD, ctx);  // [B, L, E]
  Scores scores = gate_->scores({routed.logits_BLE, x_BLD});
  scores.x_BLD = x_BLD;
  Selected selected = selection_->select(scores, ctx);  // bool [B, L, E]
  if (selected.gate_BLE.defined()) scores.gate_BLE = selected.gate_BLE;
  const Assignment assignment =
      make_assignment(selected.mask_BLE, weighting_->weights(scores, selected));
  if (ctx.training && assignment.pairs() == 0 && selected.kappa.defined()) {
    // Pools keep a fixed number of pairs, which is 0 here.
    const int64_t pairs = selected.mask_BLE.numel(), rows = selected.kappa.numel();
    require(pairs == 0, selection_->name(), ": ",
            nothing_kept(active_, rows == 0 ? pairs : pairs / rows, selected.mask_BLE.size(-1)));
  }
  at::Tensor y_TD;  // [T, D]
  {
    const ops::PrecisionGuard precision(of_experts);
    y_TD = experts_->forward(x_BLD.reshape({-1, x_BLD.size(-1)}), assignment, ctx);
  }
  if (ctx.routing != nullptr) {
    routed.extras.merge(selected.extras);
    ctx.routing->push_back(
        {.layer = name(),
         .active = active_,
         .logits_BLE = scores.logits_BLE,
         .gate_BLE = scores.gate_BLE,
         .mask_BLE = selected.mask_BLE,
         .chosen_BLE = selected.chosen(),
         .head_BLH = routed.head_BLH,
         .compared_BLE = selected.compared_BLE.defined() ? selected.compared_BLE : scores.gate_BLE,
         .kappa = selected.kappa,
         .assignment = assignment,
         // For losses: beyond a layer they would double what a forward at inference holds.
         .x_BLD = ctx.training ? x_BLD : at::Tensor(),
         .label_B = ctx.label_B,
         .timestep_B = ctx.timestep_B,
         .extras = std::move(routed.extras),
         .losses = &losses_,
         .pending = std::move(selected.pending),
         .selection = selection_.get()});
  }
  return y_TD.reshape(x_BLD.sizes());
}

nn::Activations Moe::activations(double tokens) const {
  const double T = tokens * parameters().front()->attributes().uses;
  const auto E = static_cast<double>(experts_count_);
  return {.kept = T * (2.5 * E + 20 * active_),
          .passing = T * 2 * E,
          .recorded = T * (2.5 * E + 5 * active_)};
}

namespace {

const config::Register<nn::FeedForward, MoeSettings> registered{
    "moe", "router, gate, selection and experts", "Expert Race, arXiv 2503.16057, and its rivals",
    [](const MoeSettings& settings, const nn::FeedForward::Args& args) {
      return std::make_unique<Moe>(settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
