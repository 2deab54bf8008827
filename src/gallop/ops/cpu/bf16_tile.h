#pragma once

#include <cstdint>

#include "gallop/ops/cpu/tile.h"

namespace gallop::ops {

/// Two neighbours of a sum in bf16, the upper halves of their float32 bits: the first one in the
/// lower half of the word.
using Bf16Pair = uint32_t;

/// c += a0 b0 + a1 b1 for each pair, in float32. In a tile of ordinary instructions the second
/// product is added first, each sum rounded, as Intel describes vdpbf16ps; a processor may keep
/// more digits in between, and takes subnormal numbers for zero.
using Bf16Tile = TileOf<Bf16Pair>;

/// The tile of the processor's own instruction, avx512_bf16; null where there is none.
const Bf16Tile* native_bf16_tile();

/// The same in the same layout with ordinary instructions, slower than float32: so that tests run
/// everywhere.
const Bf16Tile& emulated_bf16_tile();

}  // namespace gallop::ops
