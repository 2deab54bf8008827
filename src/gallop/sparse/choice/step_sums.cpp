#include "gallop/sparse/choice/step_sums.h"

namespace gallop::sparse {

at::Tensor StepSums::add(const std::string& name, const at::Tensor& sum) {
  at::Tensor& before = sums_[name];
  const at::Tensor total = before.defined() ? before.add(sum) : sum;
  before = total.detach();
  return total;
}

}  // namespace gallop::sparse
