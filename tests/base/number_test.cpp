#include "gallop/base/number.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace gallop {
namespace {

TEST(WholeNumber, IsDecimalAndAllOfTheText) {
  EXPECT_EQ(whole_number<int64_t>("010"), 10);
  EXPECT_EQ(whole_number<int64_t>("-7"), -7);
  EXPECT_EQ(whole_number<int64_t>("9223372036854775807"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(whole_number<uint64_t>("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  for (const char* text : {"", "x", "1x", "0x10", "1.0", "1e3", "+1", " 1", "1 ", "-", "--1",
                           "9223372036854775808", "99999999999999999999"})
    EXPECT_FALSE(whole_number<int64_t>(text)) << text;
  EXPECT_FALSE(whole_number<uint64_t>("-1"));
  EXPECT_FALSE(whole_number<uint64_t>("18446744073709551616"));
}

TEST(FiniteNumber, IsFiniteAndAllOfTheText) {
  EXPECT_EQ(finite_number("0.25"), 0.25);
  EXPECT_EQ(finite_number("-1e-3"), -1e-3);
  EXPECT_EQ(finite_number("010"), 10.0);
  for (const char* text :
       {"", "nan", "NaN", "inf", "-inf", "infinity", "1e999", "1.5x", "0x1p3", "1,5", "1 "})
    EXPECT_FALSE(finite_number(text)) << text;
}

}  // namespace
}  // namespace gallop
