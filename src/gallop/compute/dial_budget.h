#pragma once

#include <vector>

namespace gallop::compute {

/// What one range of noise levels loses with so many experts a token; both of equal length, the
/// experts ascending.
struct LossCurve {
  std::vector<double> active, loss;
};

/// How many experts a token each range gets, so that the mean over the ranges is at most `budget`
/// and the summed loss least. Between the points of a curve the loss is taken as straight, and
/// where it does not fall evenly its lower convex hull counts. Nothing is spent where more experts
/// do not help. Throws Error where even the first points are above the budget, and for curves that
/// are none.
std::vector<double> share_budget(const std::vector<LossCurve>& ranges, double budget);

}  // namespace gallop::compute
