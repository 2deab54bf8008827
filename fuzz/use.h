#pragma once

#include <cstdint>
#include <vector>

#include "fuzz/target.h"
#include "gallop/formats/safetensors.h"

namespace gallop::fuzz {

/// Reads every byte, so that the sanitizers see those outside of what was mapped.
inline void use(Bytes bytes) {
  uint8_t sum = 0;
  for (const std::byte b : bytes) sum = static_cast<uint8_t>(sum + std::to_integer<uint8_t>(b));
  volatile uint8_t kept = sum;
  static_cast<void>(kept);
}

inline void use(const std::vector<formats::TensorView>& tensors) {
  for (const formats::TensorView& t : tensors) use(t.data);
}

}  // namespace gallop::fuzz
