#include "gallop/inspection/tensor_summary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/base/printable.h"
#include "gallop/nn/tensor_io.h"

namespace gallop::inspection {
namespace {

std::string number(double value) { return format("%.4g", value); }

std::string non_finite(const TensorSummary& t) {
  std::string text;
  if (t.nan > 0) text = std::to_string(t.nan) + " NaN";
  if (t.infinite > 0) text += (text.empty() ? "" : ", ") + std::to_string(t.infinite) + " inf";
  return text.empty() ? "-" : text;
}

}  // namespace

TensorSummary summarize(const formats::TensorView& tensor) {
  constexpr size_t piece = size_t{1} << 20;  // elements
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const size_t size = formats::size_of(tensor.dtype), count = tensor.data.size() / size;
  TensorSummary summary{.name = tensor.name,
                        .type = std::string(formats::name_of(tensor.dtype)),
                        .shape = tensor.shape,
                        .elements = static_cast<int64_t>(count),
                        .min = nan,
                        .max = nan};
  double sum = 0;
  for (size_t begin = 0; begin < count; begin += piece) {
    const size_t n = std::min(piece, count - begin);
    const at::Tensor values = nn::to_tensor({tensor.name,
                                             tensor.dtype,
                                             {static_cast<int64_t>(n)},
                                             tensor.data.subspan(begin * size, n * size)})
                                  .to(at::kDouble);
    const double* x = values.const_data_ptr<double>();
    for (size_t i = 0; i < n; ++i) {
      if (std::isnan(x[i])) {
        ++summary.nan;
      } else if (std::isinf(x[i])) {
        ++summary.infinite;
      } else {
        summary.min = std::fmin(summary.min, x[i]);  // the other one of a NaN
        summary.max = std::fmax(summary.max, x[i]);
        sum += x[i];
      }
    }
  }
  const int64_t finite = summary.elements - summary.nan - summary.infinite;
  summary.mean = finite > 0 ? sum / static_cast<double>(finite) : nan;
  return summary;
}

std::string table_of(const std::vector<TensorSummary>& tensors) {
  using Row = std::array<std::string, 7>;
  std::vector<Row> rows{{"tensor", "type", "shape", "min", "max", "mean", "non-finite"}};
  int64_t elements = 0, bad = 0;
  for (const TensorSummary& t : tensors) {
    const bool any = t.elements > t.nan + t.infinite;
    rows.push_back({printable(t.name), t.type, shape_text(t.shape), any ? number(t.min) : "-",
                    any ? number(t.max) : "-", any ? number(t.mean) : "-", non_finite(t)});
    elements += t.elements;
    bad += t.nan + t.infinite;
  }
  std::array<size_t, 7> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string table;
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      const bool numeric = i >= 3 && i < 6;
      table += (i == 0 ? "" : "  ") + (numeric ? space + row[i] : row[i] + space);
    }
    table.erase(table.find_last_not_of(' ') + 1);
    table += '\n';
  }
  table += std::to_string(tensors.size()) + " tensors, " + std::to_string(elements) +
           " elements, " + std::to_string(bad) + " of them not finite\n";
  return table;
}

}  // namespace gallop::inspection
