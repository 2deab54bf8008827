#include "gallop/runs/finite.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>

#include <bit>
#include <cstdint>
#include <limits>

namespace gallop::runs {
namespace {

bool is_threshold(const std::string& name) {
  return name == "threshold" || name.ends_with(".threshold");
}

// Without the tensors between that ATen would make.
template <class Bits, class Number>
int64_t count(const Number* x, int64_t size) {
  constexpr auto exponent = std::bit_cast<Bits>(std::numeric_limits<Number>::infinity());
  int64_t found = 0;
  for (int64_t i = 0; i < size; ++i) {
    found += (std::bit_cast<Bits>(x[i]) & exponent) == exponent ? 1 : 0;
  }
  return found;
}

}  // namespace

int64_t non_finite_elements(const at::Tensor& x) {
  if (!x.is_floating_point()) return 0;
  const at::NoGradGuard no_grad;
  if (x.is_cpu() && x.is_contiguous()) {
    if (x.scalar_type() == at::kFloat) {
      return count<uint32_t>(x.const_data_ptr<float>(), x.numel());
    }
    if (x.scalar_type() == at::kDouble) {
      return count<uint64_t>(x.const_data_ptr<double>(), x.numel());
    }
  }
  if (x.numel() == 0) return 0;
  constexpr int64_t at_once = int64_t{1} << 20;
  int64_t found = 0;
  for (const at::Tensor& part : x.reshape({-1}).split(at_once)) {
    found += part.numel() - at::isfinite(part).sum().item<int64_t>();
  }
  return found;
}

std::vector<std::string> non_finite_tensors(
    const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<std::string> found;
  for (const auto& [name, tensor] : tensors) {
    int64_t bad = non_finite_elements(tensor);
    if (bad > 0 && is_threshold(name)) bad -= tensor.isnan().sum().item<int64_t>();
    if (bad == 0) continue;
    found.push_back(name + " (" + std::to_string(bad) + " of " + std::to_string(tensor.numel()) +
                    ")");
  }
  return found;
}

}  // namespace gallop::runs
