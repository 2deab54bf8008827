#include "gallop/formats/line_plot.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "gallop/base/error.h"

namespace gallop::formats {
namespace {

// Pixels: a plot with its labels, its frame inside, and room for the title.
constexpr double width = 420, height = 320, left = 70, right = 20, top = 44, bottom = 52;

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

/// A range with round ends that holds the values, and the step of its ticks.
struct Axis {
  double from = 0, to = 1, step = 1;

  explicit Axis(double low, double high) {
    if (high <= low) {
      const double margin = low == 0 ? 1 : std::abs(low) * 0.1;
      low -= margin;
      high += margin;
    }
    const double rough = (high - low) / 4, power = std::pow(10, std::floor(std::log10(rough)));
    step = 10 * power;
    for (const double factor : {5.0, 2.0, 1.0}) {
      if (factor * power >= rough) step = factor * power;
    }
    from = std::floor(low / step) * step;
    to = std::ceil(high / step) * step;
  }
  int ticks() const { return static_cast<int>(std::lround((to - from) / step)) + 1; }
  double share(double value) const { return (value - from) / (to - from); }
};

void draw(std::ostream& svg, const LinePlot& plot, double x0) {
  require(!plot.points.empty(), "a plot of ", plot.y_label, " needs at least one point");
  const auto by = [&](auto member) {
    const auto [low, high] = std::minmax_element(
        plot.points.begin(), plot.points.end(),
        [member](const auto& a, const auto& b) { return a.*member < b.*member; });
    return Axis(*low.*member, *high.*member);
  };
  for (const LinePlot::Point& point : plot.points) {
    require(std::isfinite(point.x) && std::isfinite(point.y), "a point of the plot of ",
            plot.y_label, " is not finite: (", point.x, ", ", point.y, ")");
  }
  const Axis x = by(&LinePlot::Point::x), y = by(&LinePlot::Point::y);
  const auto px = [&](double v) { return x0 + left + x.share(v) * (width - left - right); };
  const auto py = [&](double v) { return height - bottom - y.share(v) * (height - top - bottom); };

  svg << "<g font-size=\"11\" fill=\"#333\">\n";
  for (int i = 0; i < x.ticks(); ++i) {
    const double value = x.from + i * x.step;
    svg << "<line x1=\"" << px(value) << "\" x2=\"" << px(value) << "\" y1=\"" << py(y.from)
        << "\" y2=\"" << py(y.to) << "\" stroke=\"#ddd\"/><text x=\"" << px(value) << "\" y=\""
        << height - bottom + 16 << "\" text-anchor=\"middle\">" << value << "</text>\n";
  }
  for (int i = 0; i < y.ticks(); ++i) {
    const double value = y.from + i * y.step;
    svg << "<line x1=\"" << px(x.from) << "\" x2=\"" << px(x.to) << "\" y1=\"" << py(value)
        << "\" y2=\"" << py(value) << "\" stroke=\"#ddd\"/><text x=\"" << x0 + left - 6 << "\" y=\""
        << py(value) + 4 << "\" text-anchor=\"end\">" << value << "</text>\n";
  }
  svg << "<text x=\"" << px((x.from + x.to) / 2) << "\" y=\"" << height - 14
      << "\" text-anchor=\"middle\">" << escaped(plot.x_label)
      << "</text>\n<text transform=\"translate(" << x0 + 14 << " " << py((y.from + y.to) / 2)
      << ") rotate(-90)\" text-anchor=\"middle\">" << escaped(plot.y_label)
      << "</text>\n<polyline fill=\"none\" stroke=\"#1f6fb4\" "
      << "stroke-width=\"2\" points=\"";
  for (const LinePlot::Point& point : plot.points) svg << px(point.x) << "," << py(point.y) << " ";
  svg << "\"/>\n";
  for (const LinePlot::Point& point : plot.points) {
    svg << "<circle cx=\"" << px(point.x) << "\" cy=\"" << py(point.y)
        << "\" r=\"3.5\" fill=\"#1f6fb4\"/><text x=\"" << px(point.x) + 6 << "\" y=\""
        << py(point.y) - 6 << "\">" << escaped(point.label) << "</text>\n";
  }
  svg << "</g>\n";
}

}  // namespace

std::string to_svg(const std::string& title, const std::vector<LinePlot>& plots) {
  const double total = width * static_cast<double>(plots.size());
  std::ostringstream svg;
  svg.imbue(std::locale::classic());
  svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << total << "\" height=\"" << height
      << "\" viewBox=\"0 0 " << total << " " << height
      << "\" font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      << "<text x=\"" << total / 2 << "\" y=\"22\" font-size=\"14\" text-anchor=\"middle\">"
      << escaped(title) << "</text>\n";
  for (size_t i = 0; i < plots.size(); ++i) draw(svg, plots[i], width * static_cast<double>(i));
  svg << "</svg>\n";
  return svg.str();
}

}  // namespace gallop::formats
