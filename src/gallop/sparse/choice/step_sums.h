#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace gallop::sparse {

/// What the micro-batches of one step have summed so far: balance "at global-batch scope" counts
/// the choices of the whole step and not those of a micro-batch alone (Qiu et al., arXiv
/// 2501.11873). Lives as long as the task; begins anew with every step, so that no checkpoint needs
/// it.
class StepSums {
 public:
  void start_step() { sums_.clear(); }
  /// `sum` and those that were added under this name before, which carry no gradient.
  at::Tensor add(const std::string& name, const at::Tensor& sum);

 private:
  std::map<std::string, at::Tensor> sums_;
};

}  // namespace gallop::sparse
