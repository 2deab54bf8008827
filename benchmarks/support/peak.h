#pragma once

#include <cstdint>

namespace gallop::testing {

/// Fused multiply-adds on registers, the widest that this processor has: what every other rate is a
/// share of. Returns their floating point operations.
int64_t multiply_add_registers();

/// Floating point operations a second of one thread that does nothing else: the best of some tries,
/// 50 ms in all, measured once.
double peak_of_a_core();

}  // namespace gallop::testing
