#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// [tasks, E] the joint probability of task and expert, sum of the softmax probabilities of each
/// task's tokens / T. task_T int64, 0 .. tasks-1 (Mod-Squad, arXiv 2212.08066).
at::Tensor joint_probability(const at::Tensor& logits_TE, const at::Tensor& task_T, int64_t tasks);

/// sum P(i,j) ln(P(i,j) / (P(i) P(j))) in nats; entries of 0 add nothing.
at::Tensor mutual_information(const at::Tensor& joint_KE);

}  // namespace gallop::sparse
