#include "gallop/base/human.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace gallop {
namespace {

TEST(Human, Bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(uint64_t{300} << 20), "300 MiB");
  EXPECT_EQ(human_bytes(uint64_t{24} << 30), "24.0 GiB");
  EXPECT_EQ(human_bytes(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
}

TEST(Human, Count) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(0.5), "0.50");
  EXPECT_EQ(human_count(12'345), "12.3k");
  EXPECT_EQ(human_count(999'999), "1.00M");
  EXPECT_EQ(human_count(531e6), "531M");
  EXPECT_EQ(human_count(2.788e9), "2.79B");
  EXPECT_EQ(human_count(-4e12), "-4.00T");
  EXPECT_EQ(human_count(NAN), "?");
}

TEST(Human, Duration) {
  EXPECT_EQ(human_duration(0), "0 s");
  EXPECT_EQ(human_duration(0.253), "0.25 s");
  EXPECT_EQ(human_duration(9.96), "10 s");
  EXPECT_EQ(human_duration(59.6), "1 min 00 s");
  EXPECT_EQ(human_duration(187), "3 min 07 s");
  EXPECT_EQ(human_duration(3599.7), "1 h 00 min");
  EXPECT_EQ(human_duration(7500), "2 h 05 min");
  EXPECT_EQ(human_duration(273'600), "3 d 4 h");
  EXPECT_EQ(human_duration(-1), "?");
  EXPECT_EQ(human_duration(INFINITY), "?");
  EXPECT_NE(human_duration(1e300), "");
}

TEST(Human, Lists) {
  EXPECT_EQ(join_list({}), "");
  EXPECT_EQ(join_list({"a"}), "a");
  EXPECT_EQ(join_list({"a", "b"}), "a and b");
  EXPECT_EQ(join_list({"a", "b", "c"}, "or"), "a, b or c");
}

TEST(Human, Shapes) {
  EXPECT_EQ(shape_text({}), "[]");
  EXPECT_EQ(shape_text(std::vector<int64_t>{3, 16, 24}), "[3, 16, 24]");
}

}  // namespace
}  // namespace gallop
