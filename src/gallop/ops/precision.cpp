#include "gallop/ops/precision.h"

#include "gallop/base/error.h"

namespace gallop::ops {

std::string bf16_missing() {
  if (EmulatedBf16Guard::active() || native_bf16_tile() != nullptr) return "";
  return "this CPU has no avx512_bf16 (AMD has it from Zen 4 on; Intel in the Xeons Cooper Lake "
         "and, "
         "from Sapphire Rapids on, all)";
}

const Bf16Tile* product_tile() {
  if (PrecisionGuard::active() == Precision::float32) return nullptr;
  if (EmulatedBf16Guard::active()) return &emulated_bf16_tile();
  const std::string missing = bf16_missing();
  require(missing.empty(), "products in bf16 cannot run: ", missing, "; float32 works here");
  return native_bf16_tile();
}

}  // namespace gallop::ops
