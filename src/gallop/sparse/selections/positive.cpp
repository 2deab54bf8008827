#include "gallop/config/registry.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {
namespace {

// Nothing competes, so that no score but its own decides whether a pair is kept; how many are is
// left to a loss.
class PositiveSelection : public Selection {
 public:
  explicit PositiveSelection(const Args& args) : Selection(*args.parent, "router") {}

  Selected select(const Scores& scores, const nn::ForwardContext&) const override {
    return {.pairs = Pairs::of_mask(scores.gate_BLE.detach().gt(0))};
  }
  Pools pools() const override { return {}; }
  bool takes_lists() const override { return true; }
  std::vector<std::string> needs_shown() const override { return {exact_zeros}; }
};

const config::RegisterKind<Selection, PositiveSelection> registered{
    "positive",
    "every pair whose gate is above 0; how many these are, a loss teaches (adaptive_l1)",
    "ReMoE, arXiv 2412.14711"};

}  // namespace
}  // namespace gallop::sparse
