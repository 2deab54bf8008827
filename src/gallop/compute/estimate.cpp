#include "gallop/compute/estimate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <sstream>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/sparse/layers/moe.h"

namespace gallop::compute {

namespace {

constexpr double element_size = 4;
// What a run of a model of no size holds, and the share that lies unused between the activations
// of a heap which gives nothing back; both measured.
constexpr uint64_t program_bytes = uint64_t{140} << 20;
constexpr double heap = 1.09;

uint64_t bytes_of(double numbers) { return static_cast<uint64_t>(numbers * element_size); }

bool is_matrix(const nn::Parameter& parameter) {
  const size_t dims = parameter.shape().size();
  return !parameter.attributes().buffer && (dims == 2 || dims == 3) &&
         !parameter.has_row_gradient();
}

// Numbers of the tables whose gradient holds rows, and of what is remembered of their averages: as
// many again, and a clock a row that takes the room of two.
struct Tables {
  double all = 0, remembered = 0;
  explicit Tables(const models::Model& model) {
    for (const nn::Parameter* parameter : model.parameters()) {
      if (!parameter->has_row_gradient() || !parameter->trainable()) continue;
      const auto numel = static_cast<double>(parameter->numel());
      all += numel;
      remembered += numel + 2 * static_cast<double>(parameter->shape()[0]);
    }
  }
};

// Numbers of the weight matrices: all, and the largest one.
struct Matrices {
  double all = 0, largest = 0;
  explicit Matrices(const models::Model& model) {
    for (const nn::Parameter* parameter : model.parameters()) {
      if (!is_matrix(*parameter) || !parameter->trainable()) continue;
      const auto numel = static_cast<double>(parameter->numel());
      all += numel;
      largest = std::max(largest, numel);
    }
  }
};

// The gradient of a matrix is summed in as many parts as there are thousands of rows (a power of
// two); the first one is the gradient itself.
double partial_gradients(const models::Model& model, int64_t batch) {
  double most = 0;
  for (const nn::Parameter* parameter : model.parameters()) {
    if (!is_matrix(*parameter) || !parameter->trainable()) continue;
    const nn::Attributes& attributes = parameter->attributes();
    const double rows = static_cast<double>(batch) * attributes.share_used * attributes.uses *
                        (attributes.per_sample ? 1 : static_cast<double>(model.tokens()));
    const auto parts = std::bit_ceil(static_cast<uint64_t>(std::ceil(std::max(rows, 1.0) / 1024)));
    most = std::max(most, static_cast<double>((parts - 1) * parameter->numel()));
  }
  return most;
}

}  // namespace

Estimate estimate(const models::Model& model, const runs::Recipe& recipe,
                  const tasks::TaskMemory& memory) {
  Estimate e;
  e.counts = models::count(model);
  e.flops_per_step = models::training_flops(model) *
                     static_cast<double>(recipe.train.batch * recipe.train.accumulate);
  const auto total = static_cast<double>(e.counts.total),
             trainable = static_cast<double>(e.counts.trainable);
  const auto batch = static_cast<double>(recipe.train.batch);
  const models::Footprint sample = models::footprint(model);
  const Matrices matrices(model);
  const Tables tables(model);
  const double state = 2 * total + 2 * trainable + tables.remembered;

  // Products cut up to two matrices into panels, in memory that stays.
  e.weights = bytes_of(state + 2 * matrices.largest);
  e.gradients = bytes_of(trainable - tables.all);
  e.activations = bytes_of(heap * batch * (sample.kept + sample.passing) +
                           partial_gradients(model, recipe.train.batch));
  const bool saves =
      recipe.checkpoint.background_save && recipe.checkpoint.every < recipe.train.steps;
  e.saving = saves ? bytes_of(state) : 0;

  if (recipe.eval.every > 0) {
    const auto at_once = static_cast<double>(memory.evaluated);
    e.evaluation = bytes_of(matrices.all + heap * at_once * (sample.inference + sample.recorded));
  }
  if (recipe.sample.every > 0) {
    const auto at_once = static_cast<double>(memory.generated);
    e.evaluation =
        std::max(e.evaluation, bytes_of(matrices.all + heap * at_once * sample.inference));
  }

  e.data = memory.data;
  e.program = program_bytes;

  // Activations go as gradients come; with several micro-batches the gradients of the others are
  // there already, and a matrix has two.
  const uint64_t step = recipe.train.accumulate > 1
                            ? e.activations + e.gradients + bytes_of(2 * matrices.largest)
                            : std::max(e.activations, e.gradients);
  e.peak = e.program + e.data + e.weights + e.saving + std::max(step, e.evaluation);
  return e;
}

std::string describe(const models::Model& model, const Estimate& e) {
  std::ostringstream text;
  text << model.summary() << "\nparameters: " << human_count(static_cast<double>(e.counts.total))
       << " (" << e.counts.total << "), active a token " << human_count(e.counts.active)
       << "; by the paper's rule (weight matrices of the blocks) "
       << human_count(static_cast<double>(e.counts.paper_total)) << ", active "
       << human_count(e.counts.paper_active) << "\ncost: " << human_count(e.flops_per_step)
       << "FLOP a step; memory about " << human_bytes(e.peak) << " (weights, average and moments "
       << human_bytes(e.weights) << ", gradients " << human_bytes(e.gradients) << ", activations "
       << human_bytes(e.activations);
  if (e.saving > 0) text << ", background saves " << human_bytes(e.saving);
  if (e.evaluation > 0) text << ", evaluation " << human_bytes(e.evaluation);
  text << ", data and program " << human_bytes(e.data + e.program) << ")";
  return text.str();
}

std::string rounding_of_experts(const models::Model& model) {
  for (const nn::Module* module : model.modules()) {
    const auto* moe = dynamic_cast<const sparse::Moe*>(module);
    if (moe == nullptr) continue;
    const double kept = moe->selection().kept_a_token().value_or(moe->active());
    if (kept >= 0.95 * moe->active()) continue;
    std::ostringstream text;
    text << moe->name() << ": the selection keeps " << kept << " experts a token, not the "
         << moe->active() << " that mlp.active says: its pools are small, and each keeps a whole "
         << "number. More active experts, or a selection over the batch (race, bl), round less";
    return text.str();
  }
  return "";
}

void require_memory(const Estimate& e, double limit) {
  const uint64_t available = memory_info().available;
  if (limit <= 0 || available == 0 ||
      static_cast<double>(e.peak) <= limit * static_cast<double>(available)) {
    return;
  }
  std::ostringstream help;
  if (e.evaluation > std::max(e.activations, e.gradients)) {
    help << "A smaller task.eval.batch lowers the " << human_bytes(e.evaluation)
         << " of evaluations, eval.every = 0 with sample.every = 0 leaves them out";
  } else {
    help << "A smaller train.batch with train.accumulate lowers the " << human_bytes(e.activations)
         << " of activations";
  }
  if (e.saving > 0) {
    help << "; checkpoint.background_save = false saves the " << human_bytes(e.saving)
         << " of the copy that checkpoints are written from";
  }
  fail("training this model needs about ", human_bytes(e.peak), ", and ", human_bytes(available),
       " can be had (memory_limit = ", limit, "). ", help.str(),
       "; memory_limit = 0 starts anyway.");
}

}  // namespace gallop::compute
