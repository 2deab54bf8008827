#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace gallop::ops {

/// What an operator with a kernel of its own tells autograd. The gradients are one an input,
/// undefined where the input is undefined or needs none.
struct Derivative {
  const char* name;  ///< of the operator; stands in autograd's messages
  /// Gradients by kernels. `grads` are those of the outputs, undefined where none arrived (never
  /// all); `inputs` the saved inputs; needed[i] says whether gradient i is wanted. No graph is
  /// made.
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& grads,
                                        const std::vector<at::Tensor>& inputs,
                                        const std::vector<bool>& needed)>
      backward;
  /// The outputs again from the inputs, by differentiable operations. It is differentiated instead
  /// of calling `backward` when the gradient itself must have a graph (create_graph).
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)> reference;
};

/// Whether a result of `inputs` will be part of a graph: grad mode is on and one of them requires
/// grad.
bool wants_graph(const std::vector<at::Tensor>& inputs);

/// Makes `outputs`, computed from `inputs` without a graph, differentiable in `inputs`, all of
/// which are saved: one that is changed in place before the backward makes it throw, like any saved
/// tensor of autograd. Does nothing unless wants_graph(inputs).
void set_derivative(const std::vector<at::Tensor>& outputs, std::vector<at::Tensor> inputs,
                    Derivative derivative);

}  // namespace gallop::ops
