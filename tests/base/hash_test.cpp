#include "gallop/base/hash.h"

#include <gtest/gtest.h>

#include <fstream>

#include "gallop/base/error.h"
#include "tests/support/temporary_directory.h"

namespace gallop {
namespace {

std::string pattern(size_t n) {
  std::string s(n, '\0');
  for (size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i % 251);
  return s;
}

// Values of the reference implementation (Python's xxhash.xxh3_128).
constexpr const char* of_nothing = "99aa06d3014798d86001c324468d497f";
constexpr const char* of_gallop = "d88037c8a18cf01b394e5221f56f3a4e";
constexpr const char* of_pattern = "766f642e64b63d92cc1a5bed6141edab";  // 3,000,000 bytes

TEST(Hash, KnownAnswers) {
  EXPECT_EQ(hash_hex(""), of_nothing);
  EXPECT_EQ(hash_hex("gallop"), of_gallop);
  EXPECT_EQ(hash_hex(pattern(3'000'000)), of_pattern);
}

TEST(Hash, PiecesGiveTheSame) {
  const std::string all = pattern(3'000'000);
  Hasher hasher;
  for (size_t at = 0, n = 1; at < all.size(); at += n, n = n * 3 % 70'001 + 1)
    hasher.add(std::string_view(all).substr(at, n));
  EXPECT_EQ(hasher.hex(), of_pattern);
  EXPECT_EQ(hasher.hex(), of_pattern);  // asking does not end it
}

TEST(Hash, Files) {
  test::TemporaryDirectory dir;
  std::ofstream(dir / "a", std::ios::binary) << pattern(3'000'000);
  std::ofstream(dir / "empty");
  EXPECT_EQ(hash_file_hex(dir / "a"), of_pattern);
  EXPECT_EQ(hash_file_hex(dir / "empty"), of_nothing);
  EXPECT_THROW(hash_file_hex(dir / "none"), Error);
}

}  // namespace
}  // namespace gallop
