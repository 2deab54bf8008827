#pragma once

#include <memory>
#include <string>

#include "gallop/nn/forward_context.h"
#include "gallop/sparse/choice/gate.h"
#include "gallop/sparse/choice/routing_record.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::testing {

/// A selection with its parent, built from TOML for logits of a shape [B, L, E].
class Selector {
 public:
  Selector(const std::string& toml, at::IntArrayRef shape_BLE, double active);
  sparse::Selected select(const sparse::Scores& scores, bool training = true) const {
    return selection_->select(scores, {.training = training});
  }
  /// The kept pairs of raw logits.
  at::Tensor mask(const at::Tensor& logits_BLE, bool training = true) const {
    return select({logits_BLE, logits_BLE, logits_BLE}, training).mask_BLE();
  }
  sparse::Selection& operator*() const { return *selection_; }
  sparse::Selection* operator->() const { return selection_.get(); }
  nn::Parameter& buffer(const std::string& name) { return *parent_.find_parameter(name); }

 private:
  nn::Module parent_;
  std::unique_ptr<sparse::Selection> selection_;
};

/// The scores that a gate without parameters gives.
sparse::Scores scores_of(const std::string& gate, const at::Tensor& logits_BLE);

/// [B, L, E] combine weights, 0 where no pair was kept; `toml` is that of a weighting.
at::Tensor weights_of(const std::string& toml, const sparse::Scores& scores,
                      const sparse::Selected& selected);

/// What a layer would record of such a forward, as far as losses read it.
sparse::RoutingRecord record_of(const sparse::Scores& scores, const sparse::Selected& selected,
                                double active, const std::string& weighting = "kind = \"gate\"");

/// The value of a loss of weight 1; `toml` is what follows its kind.
at::Tensor loss_of(const std::string& kind, const sparse::RoutingRecord& record,
                   const std::string& toml = "");

}  // namespace gallop::testing
