#include "gallop/training/estimate.h"

#include <sstream>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/human.h"

namespace gallop::training {

namespace {

constexpr uint64_t element_size = 4;
// libtorch, the decoded small data sets and the heap's slack.
constexpr uint64_t program_bytes = uint64_t{450} << 20;

}  // namespace

Estimate estimate(const models::Model& model, const Recipe& recipe) {
  Estimate e;
  e.counts = models::count(model);
  e.flops_per_step = models::training_flops(model) *
                     static_cast<double>(recipe.train.batch * recipe.train.accumulate);
  // Weights and their average in full; gradient and two moments of what is trained.
  e.weights = element_size * static_cast<uint64_t>(2 * e.counts.total + 3 * e.counts.trainable);
  e.activations = static_cast<uint64_t>(model.activation_bytes(element_size) * recipe.train.batch);
  e.peak = program_bytes + e.weights + e.activations;
  return e;
}

std::string describe(const models::Model& model, const Estimate& e) {
  std::ostringstream text;
  text << model.summary() << "\nparameters: " << human_count(static_cast<double>(e.counts.total))
       << " (" << e.counts.total << "), active a token " << human_count(e.counts.active)
       << "; by the paper's rule (weight matrices of the blocks) "
       << human_count(static_cast<double>(e.counts.paper_total)) << ", active "
       << human_count(e.counts.paper_active) << "\ncost: " << human_count(e.flops_per_step)
       << "FLOP a step; memory about " << human_bytes(e.peak) << " (weights and optimizer "
       << human_bytes(e.weights) << ", activations " << human_bytes(e.activations) << ")";
  return text.str();
}

void require_memory(const Estimate& e, double limit) {
  const uint64_t available = memory_info().available;
  if (limit <= 0 || available == 0) return;
  require(static_cast<double>(e.peak) <= limit * static_cast<double>(available),
          "training this model needs about ", human_bytes(e.peak), ", and ", human_bytes(available),
          " can be had (memory_limit = ", limit,
          "). A smaller train.batch with train.accumulate lowers the ", human_bytes(e.activations),
          " of activations; memory_limit = 0 starts anyway.");
}

}  // namespace gallop::training
