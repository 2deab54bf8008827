#pragma once

#include <ATen/ops/_sparse_coo_tensor_unsafe.h>
#include <ATen/ops/tensor.h>

#include <vector>

namespace gallop::testing {

/// A gradient of a table of `table` rows as lookups leave it: one row of `values` each of `rows`,
/// in any order and with repetitions.
inline at::Tensor rows_gradient(const std::vector<int64_t>& rows, const at::Tensor& values,
                                int64_t table) {
  std::vector<int64_t> shape = values.sizes().vec();
  shape[0] = table;
  return at::_sparse_coo_tensor_unsafe(at::tensor(rows, at::kLong).unsqueeze(0), values, shape,
                                       values.options().layout(at::kSparse),
                                       /*is_coalesced=*/false);
}

/// `count` row numbers below `table`, spread over it; the same for the same `n`.
inline std::vector<int64_t> some_rows(int64_t count, int64_t table, int64_t n) {
  std::vector<int64_t> rows;
  auto state = static_cast<uint64_t>(n + 1);
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    rows.push_back(static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(table)));
  }
  return rows;
}

}  // namespace gallop::testing
