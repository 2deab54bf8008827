#pragma once

#include <string>

#include "gallop/ops/cpu/bf16_tile.h"
#include "gallop/ops/inference/thread_value.h"

namespace gallop::ops {

/// What the operands of products with weight matrices (linear, linear_gelu, grouped_mlp) are
/// rounded to, forward and backward. Sums, and everything else, are float32 in both.
enum class Precision { float32, bf16 };

/// As long as one lives, this thread's products have this precision; the gradients of a product
/// have that of its forward, wherever and whenever they are computed.
class PrecisionGuard : public ThreadValue<PrecisionGuard, Precision> {
 public:
  explicit PrecisionGuard(Precision precision) : ThreadValue(precision) {}
};

/// For tests: as long as one lives, this thread's products in bf16 are emulated, on any processor.
class EmulatedBf16Guard : public ThreadValue<EmulatedBf16Guard, bool> {
 public:
  EmulatedBf16Guard() : ThreadValue(true) {}
};

/// Why products in bf16 cannot run here, and which processors have them; empty if they can.
std::string bf16_missing();

/// The tile of the products that begin now on this thread; null: float32. Throws Error where bf16
/// is wanted and cannot run.
const Bf16Tile* product_tile();

}  // namespace gallop::ops
