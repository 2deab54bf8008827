#include "gallop/tasks/images/keyed_noise.h"

#include <ATen/ops/empty.h>

namespace gallop::tasks {

at::Tensor keyed_noise(const std::vector<NoiseKey>& rows, at::IntArrayRef sample_shape) {
  std::vector<int64_t> shape = sample_shape.vec();
  shape.insert(shape.begin(), static_cast<int64_t>(rows.size()));
  at::Tensor noise = at::empty(shape, at::TensorOptions(at::kFloat));
  const size_t size = rows.empty() ? 0 : static_cast<size_t>(noise.numel()) / rows.size();
  float* row = noise.mutable_data_ptr<float>();
  for (const NoiseKey& key : rows) {
    fill_normal(std::span<float>(row, size), key);
    row += size;
  }
  return noise;
}

at::Tensor keyed_noise(const NoiseKey& key, int64_t first, int64_t count,
                       at::IntArrayRef sample_shape) {
  std::vector<NoiseKey> rows;
  for (int64_t i = 0; i < count; ++i) {
    rows.push_back(key.with_sample(static_cast<uint64_t>(first + i)));
  }
  return keyed_noise(rows, sample_shape);
}

}  // namespace gallop::tasks
