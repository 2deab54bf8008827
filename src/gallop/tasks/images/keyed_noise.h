#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "gallop/base/random.h"

namespace gallop::tasks {

/// Standard normal numbers [count, ...sample_shape] in float32 on the CPU; row i is the stream
/// `key.with_sample(first + i)`, so that a sample keeps its noise whatever its neighbours.
at::Tensor keyed_noise(const NoiseKey& key, int64_t first, int64_t count,
                       at::IntArrayRef sample_shape);
/// The same where every row has a key of its own.
at::Tensor keyed_noise(const std::vector<NoiseKey>& rows, at::IntArrayRef sample_shape);

}  // namespace gallop::tasks
