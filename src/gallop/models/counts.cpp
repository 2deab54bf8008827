#include "gallop/models/counts.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace gallop::models {

namespace {

// What an average token uses of a parameter's elements, however often.
double active(const nn::Attributes& attributes) {
  return attributes.share_used * std::min(attributes.uses, 1.0);
}

// Multiply-adds of one sample; `auxiliary` counts the heads that only training uses, `factor`
// multiplies what an average token uses of the experts that it chooses from.
double multiply_adds(const Model& model, bool auxiliary, double factor = 1) {
  double sum = std::round(model.multiply_adds(static_cast<double>(model.tokens())));
  for (const nn::Parameter* parameter : model.parameters()) {
    const nn::Attributes& attributes = parameter->attributes();
    if (!parameter->trainable() || !parameter->is_matrix()) continue;
    if (attributes.auxiliary && !auxiliary) continue;
    const double uses = attributes.per_sample ? 1.0 : static_cast<double>(model.tokens());
    const double share = attributes.routed ? attributes.share_used * factor : attributes.share_used;
    sum += uses * attributes.uses * share * static_cast<double>(parameter->numel());
  }
  return sum;
}

}  // namespace

Counts count(const Model& model) {
  Counts counts;
  for (const nn::Parameter* parameter : model.parameters()) {
    const nn::Attributes& attributes = parameter->attributes();
    const int64_t numel = parameter->numel();
    if (attributes.buffer) continue;
    counts.total += numel;
    if (!attributes.frozen) counts.trainable += numel;
    if (!attributes.auxiliary) counts.active += active(attributes) * static_cast<double>(numel);
    if (attributes.in_block && parameter->is_matrix() && !attributes.auxiliary) {
      counts.paper_total += numel;
      counts.paper_active += active(attributes) * static_cast<double>(numel);
    }
  }
  counts.multiply_adds = multiply_adds(model, false);
  return counts;
}

double multiply_adds_with(const Model& model, double factor) {
  return multiply_adds(model, false, factor);
}

Footprint footprint(const Model& model) {
  const auto L = static_cast<double>(model.tokens());
  Footprint all;
  for (const nn::Module* block : model.stacked()) {
    const nn::Activations own = block->all_activations(L);
    all.kept += own.kept;
    all.recorded += own.recorded;
    all.inference = std::max(all.inference, own.kept);
    for (const nn::Module* part : block->modules()) {
      all.passing = std::max(all.passing, part->activations(L).passing);
    }
  }
  const Footprint around = model.around_stack();
  all.kept += around.kept;
  all.passing += around.passing;
  all.inference += around.inference;
  all.recorded += around.recorded;
  return all;
}

double training_flops(const Model& model) { return 3 * 2 * multiply_adds(model, true); }

}  // namespace gallop::models
