#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/config/follow.h"
#include "gallop/config/schema.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/chooser.h"
#include "gallop/sparse/layers/experts.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {

/// [model.mlp] of kind "moe".
struct MoeSettings : config::Fields<MoeSettings>, config::Follows, ChooserSettings {
  std::string setting;  ///< "k-in-E"
  int64_t experts = 8;
  double active = 2;
  std::optional<int64_t> split;  ///< hidden = 4 D / split; absent: k
  std::optional<int64_t> hidden;
  config::Component kind_of_experts{"experts", "mlp"};
  SparseLossesConfig losses;
  void fields(config::Visitor& v) override;
  void validate() const override;
  /// `setting` and `experts`, `active` say one thing, `split` and `hidden` another: the one that a
  /// later source states takes the place of the other. Throws Error where a source states both and
  /// they disagree.
  std::string follow(const config::Stated& stated) override;

  struct Candidates {
    int64_t experts;
    double active;
  };
  /// E and k, those of `setting` where it is not empty; throws Error on impossible ones.
  Candidates candidates() const;
  /// H, the width of one expert in a model of width D; throws Error where the split does not
  /// divide.
  int64_t hidden_of(int64_t D) const;
};

/// The usual sparse layer: a chooser (router -> gate -> selection -> weighting) -> experts ->
/// combine. Named "moe".
class Moe : public nn::FeedForward, public Chooses {
 public:
  Moe(const MoeSettings& settings, const Args& args);
  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override;
  /// What its losses need.
  std::vector<nn::Need> needs() const override { return needs_of(losses_); }
  /// Of scores, masks and pairs.
  nn::Activations activations(double tokens) const override;

  const Chooser* chooser() const override { return &chooser_; }
  Selection& selection() { return chooser_.selection(); }
  const Selection& selection() const { return chooser_.selection(); }
  /// K, the wanted experts a token.
  double active() const { return chooser_.active(); }
  const Experts& experts() const { return *experts_; }

 private:
  Chooser::Args choice_among(const MoeSettings::Candidates& candidates, const Args& args);

  std::vector<std::unique_ptr<SparseLoss>> losses_;
  Chooser chooser_;
  std::unique_ptr<Experts> experts_;
};

}  // namespace gallop::sparse
