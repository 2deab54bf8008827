#include "gallop/training/dial_budget.h"

#include <algorithm>
#include <cstddef>

#include "gallop/base/error.h"

namespace gallop::training {
namespace {

// A piece of the hull of one range: what `width` more experts a token gain for each of them.
struct Piece {
  double slope, width;
  size_t range;
};

// The falling part of the lower convex hull, steepest first.
void add_pieces(const std::vector<double>& x, const std::vector<double>& y, size_t range,
                std::vector<Piece>& pieces) {
  for (size_t at = 0; at + 1 < x.size();) {
    size_t best = at + 1;
    const auto slope = [&](size_t to) { return (y[to] - y[at]) / (x[to] - x[at]); };
    for (size_t to = at + 2; to < x.size(); ++to) {
      if (slope(to) <= slope(best)) best = to;
    }
    if (slope(best) >= 0) return;
    pieces.push_back({slope(best), x[best] - x[at], range});
    at = best;
  }
}

}  // namespace

std::vector<double> share_budget(const std::vector<double>& candidates,
                                 const std::vector<std::vector<double>>& loss_RC, double budget) {
  require(!candidates.empty() && std::is_sorted(candidates.begin(), candidates.end()) &&
              candidates.front() <= budget,
          "a budget of ", budget,
          " experts a token cannot be shared: the candidates must ascend "
          "and the first must not be above it");
  std::vector<Piece> pieces;
  for (size_t r = 0; r < loss_RC.size(); ++r) {
    require(loss_RC[r].size() == candidates.size(), "range ", r, " has ", loss_RC[r].size(),
            " losses for ", candidates.size(), " candidates");
    add_pieces(candidates, loss_RC[r], r, pieces);
  }
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.slope < b.slope; });
  std::vector<double> active(loss_RC.size(), candidates.front());
  double left = (budget - candidates.front()) * static_cast<double>(loss_RC.size());
  for (const Piece& piece : pieces) {
    const double spent = std::min(left, piece.width);
    active[piece.range] += spent;
    left -= spent;
  }
  return active;
}

}  // namespace gallop::training
