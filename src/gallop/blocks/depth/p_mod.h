#pragma once

#include <cstdint>
#include <optional>

#include "gallop/config/schema.h"

namespace gallop::blocks {

/// Progressive Mixture-of-Depths (p-MoD, arXiv 2412.04449).
struct PModSettings : config::Fields<PModSettings> {
  double dense_above = 0.85, least = 0.15, swing = 0.2;
  std::optional<double> share;
  void fields(config::Visitor& v) override;
  /// The share of the tokens that block `index` of `blocks` works on: 0.5 cos(pi i/(n-1)) + 0.5, or
  /// the constant; 1 above `dense_above`, else at least `least`.
  double share_of(int64_t index, int64_t blocks) const;
};

}  // namespace gallop::blocks
