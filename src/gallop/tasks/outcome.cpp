#include "gallop/tasks/outcome.h"

#include <iterator>
#include <utility>

#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::tasks {

void add_routing_losses(Outcome& outcome, const Forward& forward, const at::Tensor& target_BLH) {
  for (sparse::RoutingRecord& record : outcome.routing) record.step = forward.step;
  for (sparse::LossTotal& total : sparse::total_losses(outcome.routing, target_BLH)) {
    outcome.losses.push_back({.name = total.kind, .value = total.value, .weight = total.weight});
    for (const auto& [name, value] : total.scalars)
      outcome.parts.emplace_back(total.kind + "_" + name, value);
    std::move(total.pending.begin(), total.pending.end(), std::back_inserter(outcome.pending));
  }
}

}  // namespace gallop::tasks
