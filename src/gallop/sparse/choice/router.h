#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"

namespace gallop::sparse {

class Experts;

/// Logits over candidates, and the prediction of the training target if the router has a head for
/// it.
struct Routed {
  at::Tensor logits_BLE;      ///< of a router with a listing: [B, L * queries, places]
  at::Tensor candidates_BLE;  ///< int64, alike: whose those are; undefined: that of the column
  at::Tensor head_BLH;        ///< undefined at inference and without a head
  /// What a router shows to the losses made for it, by name (the prototypes, the scale of the
  /// noise).
  std::map<std::string, at::Tensor> extras;
};

/// A small network from a token to raw logits over E candidates.
class Router : public nn::Module {
 public:
  static constexpr const char* category = "router";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t D = 0, experts = 0;
    double active = 0;         ///< K, the wanted candidates a token
    int64_t target_width = 0;  ///< width of the head that predicts the training target; 0: no head
  };
  using nn::Module::Module;
  /// For more candidates than anybody scores: each query of a token scores a short list of its own.
  struct Listing {
    int64_t queries = 1;  ///< of a token
    int64_t places = 0;   ///< candidates that each lists
  };
  virtual Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const = 0;
  /// Absent: every token scores all candidates.
  virtual std::optional<Listing> listing() const { return std::nullopt; }
  /// The names of what it always shows in Routed::extras.
  virtual std::vector<std::string> shows() const { return {}; }
  /// Called once, when the layer's experts exist; for the few routers that are made of their
  /// weights. The experts outlive the router's last forward.
  virtual void bind(const Experts&) {}
};

}  // namespace gallop::sparse
