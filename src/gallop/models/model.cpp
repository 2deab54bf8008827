#include "gallop/models/model.h"

#include "gallop/config/registry.h"

namespace gallop::models {

std::unique_ptr<Model> make_model(const config::Component& component, const Model::Args& args) {
  return config::make<Model>(component, args);
}

}  // namespace gallop::models
