#include "gallop/inspection/comparison.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>

#include "gallop/base/format.h"
#include "gallop/base/human.h"

namespace gallop::inspection {

Comparison compare(const std::string& name, const at::Tensor& got, const at::Tensor& want,
                   double rtol, double atol) {
  const at::NoGradGuard no_grad;
  Comparison result{.name = name, .got = got.sizes().vec(), .want = want.sizes().vec()};
  if (result.got != result.want || want.numel() == 0) return result;
  const at::Tensor g = got.to(at::kCPU, at::kDouble), w = want.to(at::kCPU, at::kDouble);
  const bool exact = !want.is_floating_point();
  const at::Tensor bound = exact ? at::zeros_like(w) : w.abs().mul(rtol).add(atol);
  // Equal infinities differ by NaN, and so do two NaN.
  const at::Tensor same = g.eq(w).logical_or(g.isnan().logical_and(w.isnan()));
  at::Tensor error = at::where(same, at::zeros_like(w), g.sub(w).abs());
  error =
      at::where(error.isnan(), at::full_like(w, std::numeric_limits<double>::infinity()), error);
  const at::Tensor near = error.le(bound).logical_and(error.isfinite());
  result.largest_error = error.max().item<double>();
  result.failures = same.logical_or(near).logical_not().sum().item<int64_t>();
  return result;
}

bool ComparisonReport::passed() const {
  return !compared.empty() &&
         std::all_of(compared.begin(), compared.end(), [](const auto& c) { return c.passed(); });
}

std::string ComparisonReport::text() const {
  size_t longest = 0, failed = 0;
  for (const Comparison& c : compared) {
    longest = std::max(longest, c.name.size());
    failed += c.passed() ? 0 : 1;
  }
  std::string passes, failures;
  for (const Comparison& c : compared) {
    std::string line = (c.passed() ? "ok      " : "FAILED  ") + c.name +
                       std::string(longest - c.name.size(), ' ') + "  ";
    if (c.got != c.want) {
      line += "shape " + shape_text(c.got) + ", expected " + shape_text(c.want);
    } else {
      line += format("largest error %.2e  ", c.largest_error) + shape_text(c.want);
      if (c.failures > 0) line += ", " + std::to_string(c.failures) + " elements differ";
    }
    (c.passed() ? passes : failures) += line + "\n";
  }
  std::string text = failures + passes;
  if (!not_produced.empty()) text += "not produced: " + join_list(not_produced) + "\n";
  if (compared.empty()) return text + "nothing was compared\n";
  return text + format("%zu of %zu agree within %.1e + %.1e |expected|\n", compared.size() - failed,
                       compared.size(), atol, rtol);
}

ComparisonReport compare_all(const std::vector<std::pair<std::string, at::Tensor>>& results,
                             const std::map<std::string, at::Tensor>& expected, double rtol,
                             double atol) {
  const std::map<std::string, at::Tensor> produced(results.begin(), results.end());
  ComparisonReport report{.rtol = rtol, .atol = atol};
  for (const auto& [name, want] : expected) {
    const auto found = produced.find(name);
    if (found == produced.end()) {
      report.not_produced.push_back(name);
    } else {
      report.compared.push_back(compare(name, found->second, want, rtol, atol));
    }
  }
  return report;
}

}  // namespace gallop::inspection
