#include "gallop/sparse/layers/moe.h"

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/config/registry.h"
#include "gallop/config/value.h"

namespace gallop::sparse {

namespace {

constexpr int64_t kMostExperts = 1 << 25;

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
  choice_fields(v);
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
      losses_(make_losses(settings.losses, {.layers = args.layers, .layer = this})),
      chooser_(settings, choice_among(settings.candidates(), args)) {
  const auto [E, k] = settings.candidates();
  require_shown(name(), losses_, chooser_.shows(),
                "neither the router '" + settings.router.kind() + "', the gate '" +
                    settings.gate.kind() + "' nor the selection '" + settings.selection.kind() +
                    "' shows");
  require(!chooser_.has_lists() || losses_.empty(), name(),
          ": losses read the scores of all candidates, and with the router '",
          settings.router.kind(), "' each token scores a list of its own; leave the losses out");
  experts_ = config::make<Experts>(settings.kind_of_experts, {.parent = this,
                                                              .D = args.D,
                                                              .experts = E,
                                                              .hidden = settings.hidden_of(args.D),
                                                              .active = k});
  chooser_.bind(*experts_);
}

Chooser::Args Moe::choice_among(const MoeSettings::Candidates& candidates, const Args& args) {
  bool head = false;
  for (const auto& loss : losses_) head = head || loss->needs_head();
  return {.parent = this,
          .D = args.D,
          .tokens = args.tokens,
          .candidates = candidates.experts,
          .active = candidates.active,
          .target_width = head ? args.target_width : 0,
          .losses = &losses_};
}

at::Tensor Moe::forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
  const Kept kept = chooser_.choose(x_BLD, ctx);
  return experts_
      ->forward(x_BLD.reshape({-1, x_BLD.size(-1)}), kept, ctx)  // [T, D]
      .reshape(x_BLD.sizes());
}

nn::Activations Moe::activations(double tokens) const {
  const double T = tokens * parameters().front()->attributes().uses;
  const double E = chooser_.scores_a_token(), k = active();
  return {.kept = T * (2.5 * E + 20 * k), .passing = T * 2 * E, .recorded = T * (2.5 * E + 5 * k)};
}

namespace {

const config::RegisterKind<nn::FeedForward, Moe, MoeSettings> registered{
    "moe", "router, gate, selection and experts", "Expert Race, arXiv 2503.16057, and its rivals"};

}  // namespace
}  // namespace gallop::sparse
