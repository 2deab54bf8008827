#include "gallop/models/denoiser.h"

#include "gallop/config/registry.h"

namespace gallop::models {

std::unique_ptr<Denoiser> make_denoiser(const config::Component& component,
                                        const Denoiser::Args& args) {
  return config::make<Denoiser>(component, args);
}

}  // namespace gallop::models
