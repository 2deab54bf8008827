#include "gallop/runs/young_average.h"

#include <cmath>

#include "gallop/base/format.h"
#include "gallop/base/number.h"

namespace gallop::runs {

double first_values_share(const EmaConfig& config, int64_t applied_steps) {
  double share = 1;
  for (int64_t step = 0; step < applied_steps && share > 0; ++step) share *= config.decay_at(step);
  return share;
}

std::optional<double> first_values_share(const formats::Metadata& metadata,
                                         const EmaConfig& config) {
  const auto text_of = [&](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (text_of("role") != "ema") return {};
  if (const auto share = finite_number(text_of("first_values"))) return share;
  const auto step = whole_number<int64_t>(text_of("step"));
  return step ? std::optional(first_values_share(config, *step)) : std::nullopt;
}

std::string share_to_metadata(double share) { return format("%.17g", share); }

std::string young_average(double share) {
  if (!(share > 0.1)) return {};
  return "the average (EMA) still holds " + std::to_string(std::lround(100 * share)) +
         " % of the values that the run began with, so that loss and samples with it say little of "
         "what was learned: train on, or set ema.warmup = true or a smaller ema.decay in a new "
         "run; "
         "the raw weights are beside it (--raw)";
}

}  // namespace gallop::runs
