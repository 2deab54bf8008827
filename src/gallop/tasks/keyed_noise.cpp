#include "gallop/tasks/keyed_noise.h"

#include <ATen/ops/empty.h>

namespace gallop::tasks {

at::Tensor keyed_noise(const NoiseKey& key, int64_t first, int64_t count,
                       at::IntArrayRef sample_shape) {
  std::vector<int64_t> shape = sample_shape.vec();
  shape.insert(shape.begin(), count);
  at::Tensor noise = at::empty(shape, at::TensorOptions(at::kFloat));
  const auto size = static_cast<size_t>(count > 0 ? noise.numel() / count : 0);
  float* row = noise.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i, row += size)
    fill_normal(std::span<float>(row, size), key.with_sample(static_cast<uint64_t>(first + i)));
  return noise;
}

}  // namespace gallop::tasks
