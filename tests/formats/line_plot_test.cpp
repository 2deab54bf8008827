#include "gallop/formats/line_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"

namespace gallop::formats {
namespace {

using testing::HasSubstr;
using testing::Not;

// By hand: x from 0 to 2 in steps of 0.5 over 330 pixels from 70, y from 1 to 3 in steps of 0.5
// over 224 pixels up from 268.
TEST(LinePlot, PointsLieWhereTheAxesSay) {
  const std::string svg =
      to_svg("a < b", {{"cost", "loss", {{0, 3, "k = 1"}, {1, 1.5, "k = 2"}, {2, 1, "k = 3"}}}});
  EXPECT_THAT(svg, HasSubstr("points=\"70,44 235,212 400,268 \""));
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr(">k = 2</text>"));
  EXPECT_THAT(svg, HasSubstr("rotate(-90)\" text-anchor=\"middle\">loss</text>"));
  EXPECT_THAT(svg, HasSubstr(">2.5</text>"));
}

TEST(LinePlot, OnePointAndEqualValuesHaveARange) {
  const std::string svg = to_svg("", {{"x", "y", {{5, 0, "only"}}}, {"x", "z", {{5, 2, "a"}}}});
  EXPECT_THAT(svg, HasSubstr("cx=\"235\" cy=\"156\""));
  EXPECT_THAT(svg, HasSubstr("width=\"840\""));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LinePlot, RefusesWhatCannotBeDrawn) {
  EXPECT_THROW(to_svg("", {{"x", "y", {}}}), Error);
  EXPECT_THROW(to_svg("", {{"x", "y", {{0, 1.0 / 0.0, ""}}}}), Error);
}

}  // namespace
}  // namespace gallop::formats
