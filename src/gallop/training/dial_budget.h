#pragma once

#include <vector>

namespace gallop::training {

/// How many experts a token each range of noise levels gets, so that the mean over the ranges is at
/// most `budget` and the summed loss least. loss_RC[r][c] is what range r loses with candidates[c]
/// experts (ascending, the first at most `budget`); between candidates it is taken as straight, and
/// where it does not fall evenly its lower convex hull counts. Nothing is spent where more experts
/// do not help. Throws Error on sizes that do not fit together.
std::vector<double> share_budget(const std::vector<double>& candidates,
                                 const std::vector<std::vector<double>>& loss_RC, double budget);

}  // namespace gallop::training
