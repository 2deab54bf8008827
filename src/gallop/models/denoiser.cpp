#include "gallop/models/denoiser.h"

#include "gallop/config/registry.h"

namespace gallop::models {

std::unique_ptr<Denoiser> make_denoiser(const config::Component& component,
                                        const Denoiser::Args& args) {
  std::unique_ptr<Denoiser> model = config::make<Denoiser>(component, args);
  nn::require_given(*model, model->provides(), "the model '" + component.kind() + "'");
  return model;
}

}  // namespace gallop::models
