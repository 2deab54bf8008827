#include "gallop/compute/dial_budget.h"

#include <algorithm>
#include <cstddef>

#include "gallop/base/error.h"

namespace gallop::compute {
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
      if (x[best] <= x[at] || slope(to) <= slope(best)) best = to;
    }
    if (x[best] <= x[at]) return;
    if (slope(best) >= 0) return;
    pieces.push_back({slope(best), x[best] - x[at], range});
    at = best;
  }
}

}  // namespace

std::vector<double> share_budget(const std::vector<LossCurve>& ranges, double budget) {
  std::vector<Piece> pieces;
  std::vector<double> active;
  double left = budget * static_cast<double>(ranges.size());
  for (size_t r = 0; r < ranges.size(); ++r) {
    const auto& [x, y] = ranges[r];
    require(!x.empty() && x.size() == y.size() && std::is_sorted(x.begin(), x.end()), "range ", r,
            " has ", x.size(), " numbers of experts, which must ascend, and ", y.size(), " losses");
    add_pieces(x, y, r, pieces);
    active.push_back(x.front());
    left -= x.front();
  }
  require(left >= -1e-9, "a budget of ", budget,
          " experts a token is below the least that was tried in each range");
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.slope < b.slope; });
  for (const Piece& piece : pieces) {
    const double spent = std::clamp(left, 0.0, piece.width);
    active[piece.range] += spent;
    left -= spent;
  }
  return active;
}

}  // namespace gallop::compute
