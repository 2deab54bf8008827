#include "gallop/ops/bridge.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

namespace gallop::ops {

namespace {

namespace autograd = torch::autograd;
using Tensors = std::vector<at::Tensor>;

// Aliases cut the paths by which one input may depend on another: what is wanted here is the
// partial derivative, the engine follows the paths itself.
Tensors differentiate_reference(const Derivative& derivative, const Tensors& grads,
                                const Tensors& inputs, const std::vector<bool>& needed) {
  Tensors aliases = inputs, wanted;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!needed[i]) continue;
    aliases[i] = inputs[i].view(inputs[i].sizes());
    wanted.push_back(aliases[i]);
  }
  Tensors outputs = derivative.reference(aliases), used_outputs, used_grads;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!grads[i].defined() || !outputs[i].requires_grad()) continue;
    used_outputs.push_back(outputs[i]);
    used_grads.push_back(grads[i]);
  }
  Tensors found(wanted.size());
  if (!used_outputs.empty()) {
    found = autograd::grad(used_outputs, wanted, used_grads, /*retain_graph=*/true,
                           /*create_graph=*/true, /*allow_unused=*/true);
  }
  Tensors result(inputs.size());
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (needed[i]) result[i] = found[next++];
  }
  return result;
}

struct OperatorNode : autograd::Node {
  Derivative derivative;
  std::vector<autograd::SavedVariable> saved;

  autograd::variable_list apply(autograd::variable_list&& grads) override {
    Tensors inputs;
    std::vector<bool> needed;
    bool arrived = false;
    for (const at::Tensor& grad : grads) arrived = arrived || grad.defined();
    if (!arrived) return Tensors(saved.size());
    for (size_t i = 0; i < saved.size(); ++i) {
      inputs.push_back(saved[i].unpack());
      needed.push_back(task_should_compute_output(i));
    }
    if (at::GradMode::is_enabled()) {
      return differentiate_reference(derivative, grads, inputs, needed);
    }
    return derivative.backward(grads, inputs, needed);
  }

  void release_variables() override {
    for (autograd::SavedVariable& variable : saved) variable.reset_data();
    derivative = {derivative.name, nullptr, nullptr};  // and what they hold
  }

  std::string name() const override { return derivative.name; }
};

}  // namespace

bool wants_graph(const std::vector<at::Tensor>& inputs) {
  return autograd::compute_requires_grad(inputs);
}

void set_derivative(const std::vector<at::Tensor>& outputs, std::vector<at::Tensor> inputs,
                    Derivative derivative) {
  if (!wants_graph(inputs)) return;
  auto node = c10::make_intrusive<OperatorNode>();
  node->set_next_edges(autograd::collect_next_edges(inputs));
  node->derivative = std::move(derivative);
  for (const at::Tensor& input : inputs) node->saved.emplace_back(input, /*is_output=*/false);
  autograd::set_history(outputs, node);
}

}  // namespace gallop::ops
