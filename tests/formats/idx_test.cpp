#include "gallop/formats/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using test::gzip_bytes;
using test::idx_bytes;
using testing::HasSubstr;

IdxArray decode(const std::string& bytes, size_t rank) {
  return decode_idx(std::as_bytes(std::span(bytes)), rank, "'it'");
}

std::string error_of(const std::string& bytes, size_t rank) {
  try {
    decode(bytes, rank);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("'it' "));
    return error.what();
  }
  return "";
}

TEST(Idx, ReadsPlainAndPackedFiles) {
  const std::string images = idx_bytes({2, 1, 3}, "abcdef");
  for (const std::string& bytes : {images, gzip_bytes(images)}) {
    const IdxArray array = decode(bytes, 3);
    EXPECT_EQ(array.shape, (std::vector<int64_t>{2, 1, 3}));
    EXPECT_EQ(array.data, (std::vector<uint8_t>{'a', 'b', 'c', 'd', 'e', 'f'}));
  }
  EXPECT_EQ(decode(idx_bytes({2}, "\x07\xff"), 1).data, (std::vector<uint8_t>{7, 255}));

  const test::TemporaryDirectory folder;
  test::put_file(folder / "labels.gz", gzip_bytes(idx_bytes({1}, "\x03")));
  EXPECT_EQ(read_idx(folder / "labels.gz", 1).data, std::vector<uint8_t>{3});
  EXPECT_THROW(read_idx(folder / "none", 1), Error);
}

TEST(Idx, ReadsManyPackedBytes) {
  std::string data;
  for (int i = 0; i < 300'000; ++i) data.push_back(static_cast<char>(i % 251 * i >> 5));
  const IdxArray array = decode(gzip_bytes(idx_bytes({1000, 30, 10}, data)), 3);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), array.data.begin(), array.data.end(),
                         [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; }));
}

TEST(Idx, RefusesAnotherMagicNumber) {
  EXPECT_THAT(error_of("", 3), HasSubstr("not even 4 bytes"));
  EXPECT_THAT(error_of("PNG or so", 3), HasSubstr("two zero bytes"));
  EXPECT_THAT(error_of(idx_bytes({1, 1, 1}, "abcd", 13), 3), HasSubstr("type 13"));
  EXPECT_THAT(error_of(idx_bytes({1}, "a"), 3), HasSubstr("1 dimensions instead of 3"));
  EXPECT_THAT(error_of(idx_bytes({1, 1, 1}, "a"), 1), HasSubstr("3 dimensions instead of 1"));
  EXPECT_THAT(error_of(gzip_bytes("something else"), 3), HasSubstr("two zero bytes"));
}

TEST(Idx, RefusesSizesThatDoNotFitTheData) {
  for (const bool packed : {false, true}) {
    const auto error = [&](const std::string& bytes) {
      return error_of(packed ? gzip_bytes(bytes) : bytes, 3);
    };
    EXPECT_EQ(error(idx_bytes({2, 1, 2}, "abcd")), "");
    EXPECT_THAT(error(idx_bytes({2, 1, 2}, "abc")), HasSubstr("[2, 1, 2]"));
    EXPECT_THAT(error(idx_bytes({2, 1, 2}, "abcde")), HasSubstr("goes on after"));
    EXPECT_THAT(error(idx_bytes({2, 1, 2}, "").substr(0, 10)), HasSubstr("within its dimensions"));
    EXPECT_THAT(error(idx_bytes({0, 28, 28}, "")), HasSubstr("is empty"));
    // Neither may be allocated: 2^96 and 2^32 bytes.
    EXPECT_THAT(error(idx_bytes({~0u, ~0u, ~0u}, "abc")), HasSubstr("cannot be in"));
    EXPECT_THAT(error(idx_bytes({~0u, 1, 1}, "abc")), HasSubstr("cannot be in"));
    // 2^64 + 4 would be 4.
    EXPECT_THAT(error(idx_bytes({1u << 31, 1u << 31, 4}, "abcd")), HasSubstr("cannot be in"));
  }
}

TEST(Idx, RefusesEveryTruncation) {
  const std::string plain = idx_bytes({3, 2, 2}, "abcdefghijkl"), packed = gzip_bytes(plain);
  for (const std::string& whole : {plain, packed})
    for (size_t n = 0; n < whole.size(); ++n) EXPECT_NE(error_of(whole.substr(0, n), 3), "") << n;
}

TEST(Idx, RefusesDamagedGzip) {
  const std::string whole = gzip_bytes(idx_bytes({3, 2, 2}, "abcdefghijkl"));
  std::string crc = whole;
  crc[crc.size() - 8] = static_cast<char>(crc[crc.size() - 8] ^ 1);
  EXPECT_THAT(error_of(crc, 3), HasSubstr("no valid gzip file"));
  EXPECT_THAT(error_of(whole + "x", 3), HasSubstr("goes on for 1 bytes"));
  // Any other change is found too, or changes nothing that is read (time, system, padding).
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    try {
      EXPECT_EQ(decode(changed, 3).data, decode(whole, 3).data) << i;
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace gallop::formats
