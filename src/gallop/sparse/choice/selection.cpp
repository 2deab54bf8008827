#include "gallop/sparse/choice/selection.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/kthvalue.h>

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"

namespace gallop::sparse {

int64_t whole_active(const std::string& name, double active) {
  require(active >= 1 && std::floor(active) == active, name,
          ": a token makes a whole number of choices here, got ", active,
          " active; the selections race, expert, le, bl and be take fractions");
  return static_cast<int64_t>(active);
}

std::optional<int64_t> Selection::kept_pairs(int64_t) const { return std::nullopt; }

at::Tensor Selection::threshold_scores(const at::Tensor&) const {
  fail(name(), ": this selection has no threshold to calibrate");
}

int64_t Selection::threshold_rank(int64_t, std::optional<double>) const {
  fail(name(), ": this selection has no threshold to calibrate");
}

at::Tensor Selection::exact_threshold(const at::Tensor& compared_NLE,
                                      std::optional<double> active) const {
  const at::NoGradGuard no_grad;
  const at::Tensor scores = threshold_scores(compared_NLE);
  const int64_t rank = threshold_rank(scores.size(-1), active);
  if (rank == 0)
    return at::full(scores.sizes().slice(0, scores.dim() - 1), below_all_scores, scores.options());
  return std::get<0>(scores.kthvalue(rank, -1));
}

std::vector<const Selection*> selections_of(const nn::Module& model) {
  std::vector<const Selection*> selections;
  for (const nn::Module* module : model.modules()) {
    if (const auto* selection = dynamic_cast<const Selection*>(module))
      selections.push_back(selection);
  }
  return selections;
}

bool has_thresholds(const nn::Module& model) {
  return std::ranges::any_of(selections_of(model), [](const Selection* selection) {
    return selection->threshold() != nullptr;
  });
}

}  // namespace gallop::sparse
