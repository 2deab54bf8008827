#include "gallop/base/format.h"

#include <gtest/gtest.h>

#include <string>

namespace gallop {
namespace {

TEST(Format, IsThatOfPrintf) {
  EXPECT_EQ(format("%.2f and %5d, %s: 100 %%", 1.005, 42, "x"), "1.00 and    42, x: 100 %");
  EXPECT_EQ(format("step-%08lld", 1000LL), "step-00001000");
  EXPECT_EQ(format("%.4g", 1e300), "1e+300");
}

TEST(Format, MayBeEmpty) { EXPECT_EQ(format("%s", ""), ""); }

TEST(Format, CutsNothing) {
  const std::string text(1000, 'a');
  EXPECT_EQ(format("%s", text.c_str()), text);
  std::string padded(1000, '0');
  padded.back() = '7';
  EXPECT_EQ(format("%01000d", 7), padded);
  // The largest number with all its digits.
  EXPECT_EQ(format("%.0f", 1.7976931348623157e308).size(), 309u);
}

}  // namespace
}  // namespace gallop
