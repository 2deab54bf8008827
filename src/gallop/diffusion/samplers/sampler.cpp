#include "gallop/diffusion/samplers/sampler.h"

#include <c10/core/GradMode.h>

#include <map>
#include <set>
#include <utility>

#include "gallop/base/error.h"

namespace gallop::diffusion {
namespace {

std::map<std::string, std::set<std::string>>& samplers() {
  static std::map<std::string, std::set<std::string>> instance;
  return instance;
}

}  // namespace

void add_sampler_of_objective(const std::string& objective, const std::string& sampler) {
  samplers()[objective].insert(sampler);
}

std::vector<std::string> samplers_of_objective(const std::string& objective) {
  const auto found = samplers().find(objective);
  if (found == samplers().end()) return {};
  return {found->second.begin(), found->second.end()};
}

void fail_wrong_objective(const std::string& sampler, const Objective& objective) {
  std::string known;
  for (const std::string& name : samplers_of_objective(objective.kind()))
    known += (known.empty() ? "" : ", ") + name;
  fail("sampler '", sampler, "' does not work on the objective '", objective.kind(),
       "' that the model was trained with; use one of ", known);
}

std::unique_ptr<Trajectory> Sampler::begin(const at::Tensor& noise_BCHW,
                                           NoiseSource noise_source) const {
  require(noise_BCHW.defined() && noise_BCHW.dim() == 4,
          "a sampler starts from noise of shape [batch, channels, height, width]");
  require(noise_source || !needs_noise(),
          "this sampler draws noise at its steps and was given none");
  return start(noise_BCHW, std::move(noise_source));
}

at::Tensor Sampler::sample(const Network& model, const at::Tensor& noise_BCHW,
                           const NoiseSource& noise_source, const StepCallback& on_step) const {
  const c10::NoGradGuard no_grad;
  const std::unique_ptr<Trajectory> trajectory = begin(noise_BCHW, noise_source);
  while (!trajectory->done()) {
    const Query& query = trajectory->query();
    if (trajectory->answer(model(query.x_BCHW, query.t_B)) && on_step) on_step(trajectory->state());
  }
  return trajectory->state().x_BCHW;
}

}  // namespace gallop::diffusion
