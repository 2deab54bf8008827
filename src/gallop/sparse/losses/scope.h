#pragma once

#include <string>

#include "gallop/config/schema.h"
#include "gallop/sparse/routing_record.h"

namespace gallop::sparse {

/// Weight of a loss, and over which tokens its means are taken before the samples are averaged.
struct ScopedLossSettings : config::Fields<ScopedLossSettings> {
  double weight = 0;
  std::string scope = "batch";
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss", config::at_least(0));
    v.field("scope", scope, "tokens a mean is over: those of the batch, or of each sample",
            {"batch", "sequence"});
  }
  /// [B, L, E] -> [G, N, E]: one group of all tokens, or one a sample.
  at::Tensor groups(const at::Tensor& x_BLE) const {
    return scope == "batch" ? x_BLE.flatten(0, 1).unsqueeze(0) : x_BLE;
  }
};

/// Squared coefficient of variation of each row, unbiased variance / (mean^2 + 1e-10), as a mean
/// over the rows (Shazeer et al., arXiv 1701.06538); 0 for one column.
at::Tensor squared_variation(const at::Tensor& x_GE);

/// The combine weights of a forward, [B, L, E], 0 where no pair was kept; differentiable.
at::Tensor weights_of(const RoutingRecord& record);

}  // namespace gallop::sparse
