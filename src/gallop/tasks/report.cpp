#include "gallop/tasks/report.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <sstream>
#include <utility>

#include "gallop/base/format.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/statistics.h"

namespace gallop::tasks {
namespace {

std::string fixed(double value, int digits) { return format("%.*f", digits, value); }

std::string shown(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

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

StepRemarks remarks_of(const TrainOutput& out) {
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
    if (choice == noted) remarks.note = "MaxVio " + fixed(routing.max_violation, 2);
  }
  return remarks;
}

std::vector<nn::PendingUpdate> take_pending(TrainOutput& out) {
  std::vector<nn::PendingUpdate> pending;
  for (sparse::RoutingRecord& record : out.routing) {
    std::move(record.pending.begin(), record.pending.end(), std::back_inserter(pending));
    record.pending.clear();
  }
  return pending;
}

void require_finite(const TrainOutput& out) { sparse::require_finite_scores(out.routing); }

EvalRemarks remarks_of(const EvalOutput& out, const nn::Module& model) {
  EvalRemarks remarks;
  auto& values = remarks.values;
  std::string& text = remarks.text;
  for (const auto& [name, value] : out.losses) {
    values[logged_name(name)] = value;
    text += " " + name + " " + fixed(value, 4);
  }
  if (out.active > 0) {
    values["experts_per_token"] = out.experts_per_token;
    values["max_violation"] = out.max_violation;
    values["starved"] = out.starved;
    remarks.note = "k " + fixed(out.experts_per_token, 2);
    text += ", experts a token " + fixed(out.experts_per_token, 3) + ", MaxVio " +
            fixed(out.max_violation, 2) + ", tokens without an expert " +
            fixed(100 * out.starved, 1) + " %";
  }
  for (const auto& [name, routing] : out.others) {
    values[name + "_per_token"] = routing.experts_per_token;
    values[name + "_max_violation"] = routing.max_violation;
    values[name + "_starved"] = routing.starved;
    text += ", " + name + " a token " + fixed(routing.experts_per_token, 3) + ", their MaxVio " +
            fixed(routing.max_violation, 2);
  }
  if (out.replaced > 0) {
    values["replaced"] = static_cast<double>(out.replaced);
    text += ", " + std::to_string(out.replaced) + " of the samples could not be read";
  }
  if (out.active > 0 && sparse::has_thresholds(model) &&
      std::abs(out.experts_per_token - out.active) > 0.05 * out.active) {
    remarks.warning = "the EMA weights use " + fixed(out.experts_per_token, 3) +
                      " experts a token by threshold, more than 5 % from the " + shown(out.active) +
                      " that training uses; `gallop calibrate` sets the thresholds exactly";
  }
  return remarks;
}

}  // namespace gallop::tasks
