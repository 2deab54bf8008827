#include "gallop/sparse/losses/scope.h"

#include <ATen/ops/full.h>

namespace gallop::sparse {

at::Tensor ScopedLossSettings::over_step(const RoutingRecord& record, const std::string& name,
                                         const at::Tensor& sum) const {
  if (scope != "global" || record.step == nullptr) return sum;
  return record.step->add(record.layer + "." + name, sum);
}

at::Tensor ScopedLossSettings::sum(const RoutingRecord& record, const std::string& name,
                                   const at::Tensor& x_BLE) const {
  return over_step(record, name, groups(x_BLE).sum(1));
}

at::Tensor ScopedLossSettings::mean(const RoutingRecord& record, const std::string& name,
                                    const at::Tensor& x_BLE) const {
  const at::Tensor groups_GNE = groups(x_BLE);
  if (scope != "global") return groups_GNE.mean(1);
  const at::Tensor tokens =
      at::full({}, groups_GNE.size(1), groups_GNE.options().requires_grad(false));
  return over_step(record, name, groups_GNE.sum(1))
      .div(over_step(record, name + ".tokens", tokens));
}

at::Tensor squared_variation(const at::Tensor& x_GE) {
  if (x_GE.size(1) == 1) return x_GE.sum().mul(0);
  return x_GE.var(1, /*unbiased=*/true).div(x_GE.mean(1).square().add(1e-10)).mean();
}

}  // namespace gallop::sparse
