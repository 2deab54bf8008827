#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// What a selection sees. `gate`: combine weights before selection, and what thresholds compare
/// with; `key`: what top-K orders by (monotone gates order by the logits, which never saturate).
struct Scores {
  at::Tensor logits_BLE, gate_BLE, key_BLE;
};

/// A function from logits to combine weights.
class Gate {
 public:
  static constexpr const char* category = "gate";
  struct Args {};
  virtual ~Gate() = default;
  virtual Scores scores(const at::Tensor& logits_BLE) const = 0;
};

}  // namespace gallop::sparse
