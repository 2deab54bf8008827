#include "gallop/ops/rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_sparse_coo_tensor_unsafe.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {
namespace {

using Numbers = std::vector<int64_t>;

// Positions by the row that stands there, ascending, those of one row as they came: a sort by
// digits, which takes two passes for a million rows.
Numbers order_by_row(std::span<const int64_t> rows, int64_t largest) {
  constexpr int bits = 11;
  constexpr int64_t digits = int64_t{1} << bits;
  Numbers order(rows.size()), next(rows.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int shift = 0; shift < 63 && (largest >> shift) > 0; shift += bits) {
    const auto digit = [&](int64_t row) { return (row >> shift) & (digits - 1); };
    std::array<int64_t, digits + 1> begin{};
    for (const int64_t row : rows) begin[digit(row) + 1] += 1;
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    for (const int64_t position : order) next[begin[digit(rows[position])]++] = position;
    std::swap(order, next);
  }
  return order;
}

// Where in `order` each row begins, and its end.
Numbers beginnings(std::span<const int64_t> rows, const Numbers& order) {
  Numbers begins;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || rows[order[i]] != rows[order[i - 1]]) begins.push_back(static_cast<int64_t>(i));
  }
  begins.push_back(static_cast<int64_t>(order.size()));
  return begins;
}

void check(const at::Tensor& gradient) {
  require(gradient.layout() == at::kSparse && gradient.sparse_dim() == 1,
          "a gradient of rows is a sparse COO tensor with one sparse dimension, not one of layout ",
          gradient.layout());
}

}  // namespace

at::Tensor coalesce_rows_reference(const at::Tensor& gradient) {
  check(gradient);
  const at::NoGradGuard no_grad;
  return gradient.coalesce();
}

at::Tensor coalesce_rows(const at::Tensor& gradient) {
  check(gradient);
  if (gradient.is_coalesced()) return gradient;
  const at::NoGradGuard no_grad;
  const at::Tensor indices = gradient._indices().contiguous(),
                   values = gradient._values().contiguous();
  if (!has_kernel({values})) return coalesce_rows_reference(gradient);
  const std::span<const int64_t> rows(indices.const_data_ptr<int64_t>(), indices.numel());
  const int64_t table = gradient.size(0);
  const auto [low, high] = std::minmax_element(rows.begin(), rows.end());
  require(rows.empty() || (*low >= 0 && *high < table), "a gradient of row ",
          rows.empty() || *low < 0 ? *low : *high, " of a table with rows 0 to ", table - 1);

  const Numbers order = order_by_row(rows, rows.empty() ? 0 : *high);
  const Numbers begins = beginnings(rows, order);
  const auto count = static_cast<int64_t>(begins.size()) - 1;
  const int64_t width = rows.empty() ? 0 : values.numel() / values.size(0);
  std::vector<int64_t> shape = values.sizes().vec();
  shape[0] = count;
  const at::Tensor found = at::empty({1, count}, indices.options()),
                   sums = at::empty(shape, values.options());
  auto* found_rows = found.mutable_data_ptr<int64_t>();
  auto* to = sums.mutable_data_ptr<float>();
  const auto* from = values.const_data_ptr<float>();
  constexpr int64_t part = 256;
  const int64_t numbers_of_a_row = count == 0 ? 0 : values.numel() / count + 1;
  parallel_parts(count, part, numbers_of_a_row, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      found_rows[i] = rows[order[begins[i]]];
      float* sum = to + i * width;
      std::copy_n(from + order[begins[i]] * width, width, sum);
      for (int64_t n = begins[i] + 1; n < begins[i + 1]; ++n) {
        const float* more = from + order[n] * width;
        for (int64_t d = 0; d < width; ++d) sum[d] += more[d];
      }
    }
  });
  return at::_sparse_coo_tensor_unsafe(found, sums, gradient.sizes(), gradient.options(),
                                       /*is_coalesced=*/true);
}

}  // namespace gallop::ops
