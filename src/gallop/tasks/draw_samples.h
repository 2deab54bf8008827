#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "gallop/diffusion/process.h"
#include "gallop/models/denoiser.h"
#include "gallop/tasks/task.h"

namespace gallop::tasks {

/// Throws Error unless the model can draw these samples: a sampler that does not fit the process,
/// a label that the model does not know, guidance without a null label.
void check_request(const models::Denoiser& model,
                   const std::shared_ptr<const diffusion::Process>& process,
                   const SampleRequest& request);

/// Turns noise into samples [N, C, H, W] in float32 on the CPU, N = request.labels.size(), with the
/// model's inference routing and without gradients; values are as the sampler leaves them, all
/// finite: a sample that is not is an Error with its index, before the next batch is drawn. Sample
/// i draws the noise of (seed, first + i, step) whatever the batch. An unconditional model ignores
/// the labels' values and the guidance.
at::Tensor draw_samples(const models::Denoiser& model,
                        const std::shared_ptr<const diffusion::Process>& process,
                        const SampleRequest& request);

}  // namespace gallop::tasks
