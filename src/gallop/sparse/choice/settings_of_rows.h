#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gallop::sparse {

/// What the rows of a batch want, each once in `all`; returned is which of them each row wants,
/// int64 [B], undefined where that is the first one everywhere.
template <class Setting>
at::Tensor settings_of_rows(const std::vector<const Setting*>& wanted, at::Device device,
                            std::vector<const Setting*>& all) {
  std::vector<int64_t> setting;
  for (const Setting* one : wanted) {
    const auto found = std::find(all.begin(), all.end(), one);
    setting.push_back(found - all.begin());
    if (found == all.end()) all.push_back(one);
  }
  return all.size() > 1 ? at::tensor(setting).to(device) : at::Tensor();
}

}  // namespace gallop::sparse
