#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace gallop::inspection {

/// How a tensor agrees with the one expected: each element passes when |got - want| <= atol + rtol
/// * |want|, integers and booleans only when equal, NaN only where NaN is expected.
struct Comparison {
  std::string name;
  std::vector<int64_t> got, want;  ///< shapes; different ones never pass
  double largest_error = 0;        ///< of |got - want|, infinite for a misplaced NaN
  int64_t failures = 0;            ///< elements that do not pass
  bool passed() const { return got == want && failures == 0; }
};

Comparison compare(const std::string& name, const at::Tensor& got, const at::Tensor& want,
                   double rtol, double atol);

/// All expected tensors, by name.
struct ComparisonReport {
  std::vector<Comparison> compared;
  std::vector<std::string> not_produced;  ///< expected, but not among the results
  double rtol = 0, atol = 0;
  /// False, too, if nothing was compared.
  bool passed() const;
  /// A line each, the failed ones first, then what was not produced and a summary.
  std::string text() const;
};

ComparisonReport compare_all(const std::vector<std::pair<std::string, at::Tensor>>& results,
                             const std::map<std::string, at::Tensor>& expected, double rtol,
                             double atol);

}  // namespace gallop::inspection
