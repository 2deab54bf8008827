#include "gallop/nn/module.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <cmath>
#include <span>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/random.h"

namespace gallop::nn {

namespace {

std::string join(const std::string& prefix, const std::string& name) {
  if (prefix.empty()) return name;
  if (name.empty()) return prefix;
  return prefix + "." + name;
}

// Random values are drawn in float32 for every dtype, so that a float64 model of the same seed has
// the same weights.
at::Tensor initial_value(const Parameter& parameter, uint64_t seed) {
  const Init& init = parameter.init();
  if (init.kind == Init::Kind::computed) return init.compute();
  if (init.kind == Init::Kind::constant) {
    return at::full(parameter.shape(), init.value, at::TensorOptions(at::kFloat));
  }
  at::Tensor value = at::empty(parameter.shape(), at::TensorOptions(at::kFloat));
  const std::span<float> out(value.mutable_data_ptr<float>(), value.numel());
  const NoiseKey key{seed, "init", hash_name(parameter.name()), 0};
  if (init.kind == Init::Kind::normal) {
    fill_normal(out, key);
    value.mul_(init.value);
  } else {
    fill_uniform(out, key);
    const double bound = std::sqrt(6.0 / static_cast<double>(init.fan_in + init.fan_out));
    value.mul_(2 * bound).sub_(bound);
  }
  return value;
}

}  // namespace

Parameter::Parameter(Module& owner, std::string name, std::vector<int64_t> shape, Init init,
                     Attributes attributes)
    : owner_(&owner),
      name_(std::move(name)),
      shape_(std::move(shape)),
      init_(std::move(init)),
      attributes_(attributes) {
  owner.entries_.emplace_back(this);
}

std::string Parameter::name() const { return join(owner_->name(), name_); }

int64_t Parameter::numel() const {
  int64_t count = 1;
  for (const int64_t size : shape_) count *= size;
  return count;
}

Role Parameter::role() const {
  if (attributes_.role) return *attributes_.role;
  if (attributes_.buffer) return Role::state;
  return attributes_.frozen || shape_.size() < 2 ? Role::other : Role::matrix;
}

void Parameter::set_value(at::Tensor value) {
  require(value.sizes() == at::IntArrayRef(shape_), name(), ": a value of shape ", value.sizes(),
          " was given for the declared shape ", at::IntArrayRef(shape_));
  value_ = std::move(value);
}

Module& Module::root() {
  Module* module = this;
  while (module->parent_ != nullptr) module = module->parent_;
  return *module;
}

Module* Module::find_shared(const std::string& name) const {
  for (const auto& part : shared_) {
    if (part->name_ == name) return part.get();
  }
  return nullptr;
}

Module::Module(Module& parent, std::string name) : parent_(&parent), name_(std::move(name)) {
  parent.entries_.emplace_back(this);
}

std::string Module::name() const {
  return parent_ == nullptr ? name_ : join(parent_->name(), name_);
}

std::vector<const Parameter*> Module::parameters() const {
  std::vector<const Parameter*> all;
  for (const auto& entry : entries_) {
    if (const auto* parameter = std::get_if<Parameter*>(&entry)) {
      all.push_back(*parameter);
    } else {
      const Module& module = *std::get<Module*>(entry);
      const auto below = module.parameters();
      all.insert(all.end(), below.begin(), below.end());
    }
  }
  return all;
}

std::vector<const Module*> Module::modules() const {
  std::vector<const Module*> all;
  for (const auto& entry : entries_) {
    if (const auto* child = std::get_if<Module*>(&entry)) {
      const Module& module = **child;
      all.push_back(&module);
      const auto below = module.modules();
      all.insert(all.end(), below.begin(), below.end());
    }
  }
  return all;
}

namespace {

// What lies below a module that may be changed may be changed.
template <class T>
std::vector<T*> to_change(const std::vector<const T*>& all) {
  std::vector<T*> result;
  for (const T* one : all) result.push_back(const_cast<T*>(one));
  return result;
}

}  // namespace

std::vector<Parameter*> Module::parameters() {
  return to_change(std::as_const(*this).parameters());
}

std::vector<Module*> Module::modules() { return to_change(std::as_const(*this).modules()); }

Activations Module::activations(double tokens) const {
  Activations all;
  for (const auto& entry : entries_) {
    const auto* parameter = std::get_if<Parameter*>(&entry);
    if (parameter == nullptr || !(*parameter)->trainable()) continue;
    const std::vector<int64_t>& shape = (*parameter)->shape();
    const Attributes& attributes = (*parameter)->attributes();
    if (shape.size() < 2) continue;
    // A convolution is a matrix of its patches.
    const bool flat = shape.size() > 3;
    const auto numel = static_cast<double>((*parameter)->numel());
    const auto out = static_cast<double>(flat ? shape[0] : shape[shape.size() - 2]);
    const double in = flat ? numel / out : static_cast<double>(shape.back());
    const double matrices = attributes.share_used * numel / (in * out);
    const double uses = attributes.uses * matrices * (attributes.per_sample ? 1 : tokens);
    all += {.kept = uses * ((attributes.beside ? 0 : in) + out), .passing = uses * (in + 2 * out)};
  }
  return all;
}

Activations Module::all_activations(double tokens) const {
  Activations all = activations(tokens);
  for (const Module* module : modules()) all += module->activations(tokens);
  return all;
}

double Module::multiply_adds(double tokens) const {
  double sum = 0;
  for (const auto& entry : entries_) {
    if (const auto* child = std::get_if<Module*>(&entry)) sum += (*child)->multiply_adds(tokens);
  }
  return sum;
}

void Module::scale_uses(double factor) {
  for (Parameter* parameter : parameters()) parameter->attributes_.uses *= factor;
}

void Module::decides() {
  for (Parameter* parameter : parameters()) {
    if (parameter->role() == Role::matrix) parameter->attributes_.role = Role::router;
  }
}

void Module::is_block() {
  for (Parameter* parameter : parameters()) parameter->attributes_.in_block = true;
}

Parameter* Module::find_parameter(const std::string& name) {
  return const_cast<Parameter*>(std::as_const(*this).find_parameter(name));
}

const Parameter* Module::find_parameter(const std::string& name) const {
  for (const Parameter* parameter : parameters()) {
    if (parameter->name() == name) return parameter;
  }
  return nullptr;
}

void Module::materialize(uint64_t seed, Placement placement, bool gradients) {
  const auto options = at::TensorOptions(placement.dtype).device(placement.device);
  for (Parameter* parameter : parameters()) {
    at::Tensor value = at::empty(parameter->shape(), options);
    value.copy_(initial_value(*parameter, seed));
    value.set_requires_grad(gradients && parameter->trainable());
    parameter->set_value(std::move(value));
  }
}

}  // namespace gallop::nn
