#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/config/schema.h"
#include "gallop/sparse/choice/gate.h"
#include "gallop/sparse/choice/kept.h"
#include "gallop/sparse/choice/router.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/choice/weighting.h"

namespace gallop::sparse {

/// The four parts of a choice, by kind.
struct ChooserSettings {
  config::Component router{"router", "mlp"}, gate{"gate", "identity"},
      selection{"selection", "race"}, weighting{"weighting", "gate"};
  /// Adds their four tables.
  void choice_fields(config::Visitor& v);
};

/// router -> gate -> selection -> weighting: from tokens to the candidates that they use, and how
/// much of each. Its parts are children of the layer that chooses; the chooser itself is no module
/// and has no name in a checkpoint. It writes the routing record.
class Chooser {
 public:
  struct Args {
    nn::Module* parent = nullptr;    ///< the layer that chooses
    Choice choice = Choice::expert;  ///< from what
    int64_t D = 0, tokens = 0;       ///< width and L of what is given to `choose`
    int64_t candidates = 0;          ///< E
    double active = 0;               ///< K, the wanted candidates a token
    int64_t target_width = 0;        ///< of the router's head; 0: no head
    /// Of the layer, for its records; they outlive the chooser.
    const std::vector<std::unique_ptr<SparseLoss>>* losses = nullptr;
  };
  struct Parts {
    std::unique_ptr<Router> router;
    std::unique_ptr<Gate> gate;
    std::unique_ptr<Selection> selection;
    std::unique_ptr<Weighting> weighting;
  };

  /// Throws Error where the parts do not fit together, or would never keep a pair.
  Chooser(const ChooserSettings& settings, const Args& args);
  /// Of parts that the layer has made itself, with names and arithmetic of its own.
  Chooser(Parts parts, const Args& args);

  /// For a router that is made of the experts; see Router::bind.
  void bind(const Experts& experts) { parts_.router->bind(experts); }
  /// The kept pairs of x_BLD, in float32 whatever the precision (the order of scores decides);
  /// their memory, and all of it beside the scores, grows with what is kept where the selection
  /// looks at one token at a time. Adds a record to ctx.routing if somebody asked. Throws Error in
  /// training where pools of a fixed size keep nothing.
  Kept choose(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const;

  /// What losses find in the records of this chooser: the router's, the gate's and the selection's.
  std::vector<std::string> shows() const;
  /// Whether each token scores a list of its own, so that no tensor has a column for each
  /// candidate.
  bool has_lists() const { return listing_.has_value(); }
  /// Columns of the scores of one token: E, or the places of all its lists.
  double scores_a_token() const;
  double active() const { return args_.active; }
  int64_t candidates() const { return args_.candidates; }
  Selection& selection() { return *parts_.selection; }
  const Selection& selection() const { return *parts_.selection; }

 private:
  static Parts make_parts(const ChooserSettings& settings, const Args& args);
  static void require_shown(const ChooserSettings& settings, const Parts& parts,
                            const std::string& layer);
  void check_kept() const;
  Kept weigh(const Scores& scores, const Selected& selected, const at::Tensor& candidates_BLE,
             const at::Tensor& x_BLD) const;

  Args args_;
  Parts parts_;
  std::optional<Router::Listing> listing_;
};

/// A layer that chooses, found among the modules of a model.
class Chooses {
 public:
  virtual ~Chooses() = default;
  /// Null pointer where it has nothing to choose.
  virtual const Chooser* chooser() const = 0;
};

}  // namespace gallop::sparse
