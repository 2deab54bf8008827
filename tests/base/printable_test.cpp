#include "gallop/base/printable.h"

#include <gtest/gtest.h>

namespace gallop {
namespace {

TEST(Printable, LeavesWhatCanBePrinted) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable("T-shirt/top, 'a' \"b\""), "T-shirt/top, 'a' \"b\"");
  EXPECT_EQ(printable("K\xc3\xa4tzchen \xe7\x8c\xab \xf0\x9f\x90\x88"),
            "K\xc3\xa4tzchen \xe7\x8c\xab \xf0\x9f\x90\x88");
}

TEST(Printable, KeepsANameOnItsLine) {
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\x0dd");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\x1b[31mred\x7f"), "\\x1b[31mred\\x7f");
  EXPECT_EQ(printable("a\xc2\x85z"), "a\\xc2\\x85z");           // next line
  EXPECT_EQ(printable("a\xe2\x80\xa8z"), "a\\xe2\\x80\\xa8z");  // line separator
  EXPECT_EQ(printable("a\xe2\x80\xaez"), "a\\xe2\\x80\\xaez");  // right to left from here
}

TEST(Printable, TwoNamesNeverLookAlike) {
  EXPECT_EQ(printable("a\\nb"), "a\\\\nb");
  EXPECT_NE(printable("a\\nb"), printable("a\nb"));
}

TEST(Printable, ShowsBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("caf\xe9"), "caf\\xe9");                       // Latin-1
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(printable("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
  EXPECT_EQ(printable("\xe7\x8c"), "\\xe7\\x8c");                    // cut short
  EXPECT_EQ(printable("\x80z"), "\\x80z");
}

TEST(Printable, StandsInQuotes) {
  EXPECT_EQ(printable_in_quotes("a b"), "'a b'");
  EXPECT_EQ(printable_in_quotes("a\nb"), "'a\\nb'");
}

TEST(Printable, CountsCharactersAsColumns) {
  EXPECT_EQ(columns_of(""), 0u);
  EXPECT_EQ(columns_of("K\xc3\xa4tzchen"), 8u);
}

}  // namespace
}  // namespace gallop
