#include "gallop/runs/finite.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>

#include <bit>

namespace gallop::runs {
namespace {

bool is_threshold(const std::string& name) {
  return name == "threshold" || name.ends_with(".threshold");
}

// Without the tensors between that ATen would make.
int64_t count(const float* x, int64_t size) {
  constexpr uint32_t exponent = 0x7f800000;
  int64_t found = 0;
  for (int64_t i = 0; i < size; ++i) {
    found += (std::bit_cast<uint32_t>(x[i]) & exponent) == exponent ? 1 : 0;
  }
  return found;
}

}  // namespace

int64_t non_finite_elements(const at::Tensor& x) {
  if (!x.is_floating_point()) return 0;
  const at::NoGradGuard no_grad;
  if (x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous()) {
    return count(x.const_data_ptr<float>(), x.numel());
  }
  return x.numel() - at::isfinite(x).sum().item<int64_t>();
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
