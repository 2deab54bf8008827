#pragma once

#include <string>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::sparse {

/// What a selection sees. `gate`: combine weights before selection, and what thresholds compare
/// with; `key`: what top-K orders by (monotone gates order by the logits, which never saturate).
struct Scores {
  at::Tensor logits_BLE, gate_BLE, key_BLE;
  at::Tensor x_BLD;  ///< the tokens that the scores are of, where the layer gives them
};

/// What a gate sees.
struct GateInput {
  at::Tensor logits_BLE;
  at::Tensor x_BLD;  ///< the tokens that the logits are of; few gates look at them
};

/// What a gate shows that gives exactly 0 to what a token does without.
inline constexpr const char* exact_zeros = "gates of exactly 0";

/// A function from logits to combine weights. Its parameters, if it has any, live under the
/// router's name.
class Gate : public nn::Module {
 public:
  static constexpr const char* category = "gate";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t D = 0, experts = 0;
  };
  using nn::Module::Module;
  /// What it shows to selections and losses that are made for it, as words: `exact_zeros`.
  virtual std::vector<std::string> shows() const { return {}; }
  /// Whether the scores may be those of lists, each token with other candidates (Router::listing).
  virtual bool takes_lists() const { return true; }
  virtual Scores scores(const GateInput& in) const = 0;
};

}  // namespace gallop::sparse
