#pragma once

#include <string>
#include <utility>
#include <vector>

namespace gallop::formats {

/// One line through points, with a mark and a label at each.
struct LinePlot {
  struct Point {
    double x = 0, y = 0;
    std::string label;
  };
  std::string x_label, y_label;
  std::vector<Point> points;  ///< drawn in order; at least one, all finite
};

/// Plots side by side as an SVG picture under a title. Throws Error for a plot without points or
/// with one that is not finite.
std::string to_svg(const std::string& title, const std::vector<LinePlot>& plots);

}  // namespace gallop::formats
