#include "gallop/tasks/report.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "gallop/base/format.h"
#include "gallop/sparse/statistics.h"

namespace gallop::tasks {
namespace {

// What stands before the names of its statistics in the log.
std::string of_choice(sparse::Choice choice) {
  return choice == sparse::Choice::expert ? "" : sparse::plural_of(choice) + std::string("_");
}

}  // namespace

std::string logged_name(const std::string& name) {
  constexpr std::array taken = {"step",
                                "time",
                                "kind",
                                "loss",
                                "grad_norm",
                                "lr",
                                "max_violation",
                                "starved",
                                "experts_per_token",
                                "images_per_second",
                                "seconds",
                                "replaced"};
  return std::find(taken.begin(), taken.end(), name) == taken.end() ? name : "task_" + name;
}

StepRemarks remarks_of(const Outcome& out) {
  if (out.routing.empty()) return {};
  const at::NoGradGuard no_grad;
  sparse::RoutingTotals totals;
  totals.add(out.routing);
  StepRemarks remarks;
  const std::vector<sparse::Choice> choices = totals.choices();
  // The status line is of experts, where there are some.
  const bool experts =
      std::find(choices.begin(), choices.end(), sparse::Choice::expert) != choices.end();
  const sparse::Choice noted = experts ? sparse::Choice::expert : choices.front();
  for (const sparse::Choice choice : choices) {
    const sparse::RoutingStatistics routing = totals.statistics(choice);
    const bool of_experts = choice == sparse::Choice::expert;
    remarks.values[of_experts ? "experts_per_token" : of_choice(choice) + "per_token"] =
        routing.experts_per_token;
    remarks.values[of_choice(choice) + "max_violation"] = routing.max_violation;
    remarks.values[of_choice(choice) + "starved"] = routing.starved;
    if (choice == noted) remarks.note = format("MaxVio %.2f", routing.max_violation);
  }
  return remarks;
}

std::vector<nn::PendingUpdate> take_pending(Outcome& out) {
  std::vector<nn::PendingUpdate> pending = std::exchange(out.pending, {});
  for (sparse::RoutingRecord& record : out.routing) {
    std::move(record.pending.begin(), record.pending.end(), std::back_inserter(pending));
    record.pending.clear();
  }
  return pending;
}

void require_finite(const Outcome& out) { sparse::require_finite_scores(out.routing); }

}  // namespace gallop::tasks
