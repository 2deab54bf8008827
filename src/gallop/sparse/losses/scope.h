#pragma once

#include <string>

#include "gallop/config/schema.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::sparse {

/// Weight of a loss, and which tokens make up its loads: those of a micro-batch, of each sample
/// (whose losses are then averaged), or of the micro-batches of the step so far.
struct ScopedLossSettings : config::Fields<ScopedLossSettings> {
  double weight = 0;
  std::string scope = "batch";
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss", config::at_least(0));
    v.field("scope", scope,
            "tokens that make up a load: those of the micro-batch, of each sample, or (global) of "
            "the micro-batches of the step so far, the earlier ones without gradient",
            {"batch", "sequence", "global"});
  }
  /// [B, L, E] -> [G, N, E]: one group of all tokens, or one a sample.
  at::Tensor groups(const at::Tensor& x_BLE) const {
    return scope == "sequence" ? x_BLE : x_BLE.flatten(0, 1).unsqueeze(0);
  }
  /// At global scope `sum` and those of the earlier micro-batches under the same name; else `sum`.
  at::Tensor over_step(const RoutingRecord& record, const std::string& name,
                       const at::Tensor& sum) const;
  /// The sums [G, E] of x [B, L, E] over the tokens of the scope, and their means.
  at::Tensor sum(const RoutingRecord& record, const std::string& name,
                 const at::Tensor& x_BLE) const;
  at::Tensor mean(const RoutingRecord& record, const std::string& name,
                  const at::Tensor& x_BLE) const;
};

/// Squared coefficient of variation of each row, unbiased variance / (mean^2 + 1e-10), as a mean
/// over the rows (Shazeer et al., arXiv 1701.06538); 0 for one column.
at::Tensor squared_variation(const at::Tensor& x_GE);

}  // namespace gallop::sparse
