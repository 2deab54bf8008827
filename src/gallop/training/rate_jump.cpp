#include "gallop/training/rate_jump.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "gallop/config/registry.h"
#include "gallop/training/optimizer.h"
#include "gallop/training/schedule.h"

namespace gallop::training {

namespace {

double rate_of(const runs::Recipe& recipe, int64_t step) {
  const auto schedule = config::make<Schedule>(recipe.schedule, {recipe.train.steps});
  return schedule->factor(step) * config::make<Optimizer>(recipe.optimizer, {})->learning_rate();
}

}  // namespace

std::string rate_jump(const runs::Recipe& before, const runs::Recipe& after, int64_t step) {
  if (step == 0) return {};
  const double last = rate_of(before, step - 1), expected = rate_of(before, step),
               next = rate_of(after, step);
  if (std::abs(next - expected) <= 0.05 * std::max(std::abs(last), std::abs(expected))) return {};
  std::ostringstream text;
  text.precision(3);
  text << "the learning rate goes from " << last << " in step " << step << " to " << next
       << " in step " << step + 1 << ": it now follows " << after.schedule.kind() << " over "
       << after.train.steps << " steps (before: " << before.schedule.kind() << " over "
       << before.train.steps << ")";
  if (next > last) text << "; a smaller optimizer.lr is gentler";
  return text.str();
}

}  // namespace gallop::training
