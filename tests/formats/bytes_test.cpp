#include "gallop/formats/bytes.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace gallop::formats {
namespace {

using namespace std::literals;

constexpr std::string_view eight = "\x01\x23\x45\x67\x89\xab\xcd\xef"sv;

TEST(Bytes, ReadsTheLowestByteFirst) {
  EXPECT_EQ(read_little<uint8_t>(eight.data()), 0x01u);
  EXPECT_EQ(read_little<uint16_t>(eight.data()), 0x2301u);
  EXPECT_EQ(read_little<uint32_t>(eight.data()), 0x67452301u);
  EXPECT_EQ(read_little<uint64_t>(eight.data()), 0xefcdab8967452301u);
}

TEST(Bytes, ReadsTheHighestByteFirst) {
  EXPECT_EQ(read_big<uint8_t>(eight.data()), 0x01u);
  EXPECT_EQ(read_big<uint16_t>(eight.data()), 0x0123u);
  EXPECT_EQ(read_big<uint32_t>(eight.data()), 0x01234567u);
  EXPECT_EQ(read_big<uint64_t>(eight.data()), 0x0123456789abcdefu);
}

TEST(Bytes, ReadsAtAnyAddress) {
  EXPECT_EQ(read_little<uint32_t>(eight.data() + 3), 0xcdab8967u);
  EXPECT_EQ(read_big<uint32_t>(eight.data() + 3), 0x6789abcdu);
}

TEST(Bytes, AppendsTheLowestByteFirst) {
  std::string bytes = "x";
  append_little<uint8_t>(bytes, 0x12);
  append_little<uint16_t>(bytes, 0x3456);
  append_little<uint32_t>(bytes, 0x789abcde);
  append_little<uint64_t>(bytes, 0x0123456789abcdef);
  EXPECT_EQ(bytes, "x\x12\x56\x34\xde\xbc\x9a\x78\xef\xcd\xab\x89\x67\x45\x23\x01"s);
}

}  // namespace
}  // namespace gallop::formats
