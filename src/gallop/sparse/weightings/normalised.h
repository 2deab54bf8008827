#pragma once

#include <string>

#include "gallop/config/schema.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {

/// Over which pairs of a token weights are normalised to a sum of 1, and a factor after that.
struct NormalisedSettings : config::Fields<NormalisedSettings> {
  std::string over = "kept";
  double scale = 1;
  void fields(config::Visitor& v) override {
    v.field(
        "over", over,
        "pairs that are normalised over: those kept, or all chosen before a capacity drops some",
        {"kept", "chosen"});
    v.field("scale", scale, "factor on the normalised weights", config::positive());
  }
  const at::Tensor& pairs(const Selected& selected) const {
    return over == "kept" ? selected.mask_BLE() : selected.chosen().mask_BLE();
  }
};

}  // namespace gallop::sparse
