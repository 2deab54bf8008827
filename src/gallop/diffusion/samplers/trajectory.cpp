#include "gallop/diffusion/samplers/trajectory.h"

#include <c10/core/GradMode.h>

#include "gallop/base/error.h"

namespace gallop::diffusion {

const Query& Trajectory::query() {
  require(!done(), "a sampler was asked to go on after its last of ", steps(), " steps");
  const c10::NoGradGuard no_grad;
  if (!query_) query_ = ask();
  return *query_;
}

bool Trajectory::answer(const at::Tensor& output) {
  require(query_.has_value(), "a sampler was answered before it asked");
  const c10::NoGradGuard no_grad;
  const Query query = *std::exchange(query_, std::nullopt);
  std::optional<Ended> ended = take(query, output);
  if (!ended) return false;
  state_ = {step(), steps(), std::move(ended->x_BCHW), std::move(ended->x0_BCHW)};
  return true;
}

}  // namespace gallop::diffusion
