#include "gallop/tasks/meters/routing.h"

#include <cmath>

#include "gallop/base/format.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::tasks {

RoutingMeter::RoutingMeter(const nn::Module& model) : thresholds_(sparse::has_thresholds(model)) {}

void RoutingMeter::add(const Batch&, const Outcome& outcome) {
  if (!outcome.routing.empty()) totals_.add(outcome.routing);
}

void RoutingMeter::merge(const collectives::World& world) { totals_.merge(world); }

Reading RoutingMeter::read() const {
  Reading reading;
  std::string& text = reading.text;
  const auto say = [&](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
  const sparse::RoutingStatistics experts = this->experts();
  if (experts.active > 0) {
    reading.values = {{"experts_per_token", experts.experts_per_token},
                      {"max_violation", experts.max_violation},
                      {"starved", experts.starved}};
    reading.note = format("k %.2f", experts.experts_per_token);
    say(format("experts a token %.3f, MaxVio %.2f, tokens without an expert %.1f %%",
               experts.experts_per_token, experts.max_violation, 100 * experts.starved));
  }
  for (const sparse::Choice choice : totals_.choices()) {
    if (choice == sparse::Choice::expert) continue;
    const std::string name = sparse::plural_of(choice);
    const sparse::RoutingStatistics routing = totals_.statistics(choice);
    reading.values.emplace_back(name + "_per_token", routing.experts_per_token);
    reading.values.emplace_back(name + "_max_violation", routing.max_violation);
    reading.values.emplace_back(name + "_starved", routing.starved);
    say(name + format(" a token %.3f, their MaxVio %.2f", routing.experts_per_token,
                      routing.max_violation));
  }
  if (experts.active > 0 && thresholds_ &&
      std::abs(experts.experts_per_token - experts.active) > 0.05 * experts.active) {
    reading.warning = format(
        "the EMA weights use %.3f experts a token by threshold, more than 5 %% from the %g "
        "that training uses; `gallop calibrate` sets the thresholds exactly",
        experts.experts_per_token, experts.active);
  }
  return reading;
}

}  // namespace gallop::tasks
