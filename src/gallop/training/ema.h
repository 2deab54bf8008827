#pragma once

#include "gallop/nn/module.h"

namespace gallop::training {

/// average <- decay average + (1 - decay) model for trainable parameters; frozen ones and buffers
/// (thresholds) are copied, never averaged. Both modules have the same parameters.
void update_ema(const nn::Module& model, nn::Module& average, double decay);
/// The second half of that, where the optimizer has averaged the trainable ones with its step.
void copy_untrained(const nn::Module& model, nn::Module& average);

}  // namespace gallop::training
