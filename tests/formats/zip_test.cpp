#include "gallop/formats/zip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "gallop/base/file.h"
#include "gallop/formats/npz.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/zip_bytes.h"

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using test::zip_bytes;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string error_of(const std::string& zip) {
  return message_of([&] {
    const ZipArchive archive(bytes_of(zip), "'a.zip'");
    for (const ZipEntry& entry : archive.entries()) archive.checked(entry);
  });
}

/// The bytes of a number at a place of a record, counted from where `signature` begins last.
std::string changed(std::string zip, const std::string& signature, size_t at, uint64_t value,
                    size_t size) {
  const size_t begin = zip.rfind(signature) + at;
  for (size_t i = 0; i < size; ++i) zip.at(begin + i) = static_cast<char>(value >> (8 * i));
  return zip;
}

const std::string local = "PK\3\4", directory = "PK\1\2", end = "PK\5\6";

TEST(Zip, GivesTheFilesAsTheyLie) {
  const std::string zip = zip_bytes({{"a/x", "12345"}, {"a/empty", ""}, {"y", "z"}});
  const ZipArchive archive(bytes_of(zip), "'a.zip'");
  ASSERT_EQ(archive.entries().size(), 3u);
  EXPECT_EQ(archive.entries()[0].name, "a/x");
  EXPECT_EQ(text_of(archive.checked(*archive.find("a/x"))), "12345");
  EXPECT_EQ(text_of(archive.checked(*archive.find("a/empty"))), "");
  EXPECT_EQ(archive.find("y")->data.data(), bytes_of(zip).data() + zip.find('z'));
  EXPECT_EQ(archive.find("x"), nullptr);
  EXPECT_TRUE(ZipArchive(bytes_of(zip_bytes({})), "").entries().empty());
}

TEST(Zip, ReadsWhatFollowsTheDirectory) {
  std::string zip = changed(zip_bytes({{"a", "1"}}), end, 20, 7, 2) + "PK\5\6 no";
  EXPECT_EQ(error_of(zip), "no error");
}

TEST(Zip, ReadsZip64) {
  const test::TemporaryDirectory dir;
  const std::array<uint8_t, 3> values{1, 2, 3};
  write_npz(dir / "a.npz", {{"x", DType::U8, {3}, std::as_bytes(std::span(values))},
                            {"y", DType::U8, {3}, std::as_bytes(std::span(values))}});
  const std::string zip = read_file(dir / "a.npz");
  const ZipArchive archive(bytes_of(zip), "'a.npz'");
  ASSERT_NE(archive.find("y.npy"), nullptr);
  EXPECT_THAT(text_of(archive.checked(*archive.find("y.npy"))), ::testing::EndsWith("\1\2\3"));
  // Its places, where the zip64 records say them.
  const std::string place = "PK\6\7", end64 = "PK\6\6";
  EXPECT_THAT(error_of(changed(zip, place, 8, 5, 8)), HasSubstr("zip64 record"));
  EXPECT_THAT(error_of(changed(zip, place, 8, ~uint64_t{0}, 8)), HasSubstr("begin at byte"));
  EXPECT_THAT(error_of(changed(zip, end64, 32, 1u << 30, 8)), HasSubstr("claims 1073741824"));
  EXPECT_THAT(error_of(changed(zip, end64, 48, ~uint64_t{0}, 8)), HasSubstr("does not end"));
  EXPECT_THAT(error_of(changed(zip, directory, 46 + 5 + 4, ~uint64_t{0}, 8)), HasSubstr("size is"));
  EXPECT_THAT(error_of(changed(zip, directory, 46 + 5 + 2, 8, 2)), HasSubstr("cut short"));
}

TEST(Zip, RefusesOtherFormatsAndTruncation) {
  EXPECT_THAT(error_of(""), HasSubstr("0 bytes"));
  EXPECT_THAT(error_of(std::string(100, 'x')), HasSubstr("another format"));
  const std::string zip = zip_bytes({{"a", "12"}, {"b", "3456"}});
  for (size_t n = 0; n < zip.size(); ++n)
    EXPECT_THAT(error_of(zip.substr(0, n)), HasSubstr("'a.zip' is no valid zip file")) << n;
  for (size_t n = 1; n < zip.size(); ++n) EXPECT_NE(error_of(zip.substr(n)), "no error") << n;
}

TEST(Zip, RefusesBadRecords) {
  const std::string zip = zip_bytes({{"a", "12"}, {"b", "3456"}});
  ASSERT_EQ(error_of(zip), "no error");
  EXPECT_THAT(error_of(changed(zip, directory, 10, 8, 2)),
              AllOf(HasSubstr("\"b\""), HasSubstr("compressed (method 8)")));
  EXPECT_THAT(error_of(changed(zip, directory, 8, 1, 2)), HasSubstr("encrypted"));
  EXPECT_THAT(error_of(changed(zip, directory, 24, 5, 4)), HasSubstr("size is 5 and 4"));
  EXPECT_THAT(error_of(changed(changed(zip, directory, 24, 1000, 4), directory, 20, 1000, 4)),
              HasSubstr("1000 bytes would end behind"));
  EXPECT_THAT(error_of(changed(zip, directory, 42, 1u << 30, 4)), HasSubstr("begin at byte"));
  EXPECT_THAT(error_of(changed(zip, directory, 42, 1, 4)), HasSubstr("no file at byte 1"));
  EXPECT_THAT(error_of(changed(zip, directory, 42, 0, 4)), HasSubstr("another name"));
  EXPECT_THAT(error_of(changed(zip, directory, 28, 500, 2)), HasSubstr("cut short"));
  EXPECT_THAT(error_of(changed(zip, local, 26, 500, 2)), HasSubstr("cut short"));
  EXPECT_THAT(error_of(changed(zip, local, 0, 0, 4)), HasSubstr("no file at byte"));
  EXPECT_THAT(error_of(changed(zip, end, 10, 3, 2)), HasSubstr("claims 3"));
  EXPECT_THAT(error_of(changed(zip, end, 10, 1, 2)), HasSubstr("goes on after its 1 files"));
  EXPECT_THAT(error_of(changed(zip, end, 12, 5, 4)), HasSubstr("does not end"));
  EXPECT_THAT(error_of(changed(zip, end, 4, 1, 2)), HasSubstr("several parts"));
  EXPECT_THAT(error_of(zip_bytes({{"a", "1"}, {"a", "2"}})), HasSubstr("\"a\" is there twice"));
  EXPECT_THAT(error_of(zip_bytes({{std::string("a\0b", 3), "1"}, {"c", "2"}})), "no error");
}

TEST(Zip, RefusesFilesThatShareBytes) {
  // The second file lies inside the first one.
  const std::string inner = zip_bytes({{"b", "3456"}});
  const std::string zip = zip_bytes({{"a", inner.substr(0, 35)}, {"b", "3456"}});
  EXPECT_THAT(error_of(changed(zip, directory, 42, 31, 4)), HasSubstr("share the bytes"));
}

TEST(Zip, FindsChangedBytes) {
  std::string zip = zip_bytes({{"a", "12"}, {"b", "3456"}});
  zip[zip.find("3456")] = '4';
  EXPECT_THAT(error_of(zip), AllOf(HasSubstr("'a.zip'"), HasSubstr("checksum of \"b\" is wrong")));
}

// Any changed byte is refused, or was of no meaning; views never reach outside.
TEST(Zip, ChangedBytesNeverReachOutside) {
  const std::string zip = zip_bytes({{"a", "12"}, {"b", "3456"}});
  for (size_t i = 0; i < zip.size(); ++i) {
    for (const char c : {'\0', '\1', '\x7f', '\xff'}) {
      std::string other = zip;
      other[i] = c;
      const std::string error = error_of(other);
      if (error != "no error") {
        EXPECT_THAT(error, HasSubstr("'a.zip'"));
      }
    }
  }
}

}  // namespace
}  // namespace gallop::formats
