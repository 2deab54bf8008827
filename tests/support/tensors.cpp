#include "tests/support/tensors.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <span>

#include "gallop/base/random.h"

namespace gallop::testing {

at::Tensor tensor_of(const std::vector<float>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<float>());
  return tensor;
}

at::Tensor random_normal(at::IntArrayRef shape, const std::string& name) {
  at::Tensor tensor = at::empty(shape);
  fill_normal(std::span(tensor.mutable_data_ptr<float>(), tensor.numel()),
              {0, "test", hash_name(name), 0});
  return tensor;
}

}  // namespace gallop::testing
