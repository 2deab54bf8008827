#include "gallop/formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "gallop/base/error.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using test::TemporaryDirectory;

std::span<const std::byte> bytes_of(const auto& v) { return std::as_bytes(std::span(v)); }

/// A file from a header text and data, with the length field right unless given.
void put(const fs::path& path, const std::string& header, const std::string& data,
         std::optional<uint64_t> length = {}) {
  std::ofstream out(path, std::ios::binary);
  const uint64_t n = length.value_or(header.size());
  for (int i = 0; i < 8; ++i) out.put(static_cast<char>(n >> (8 * i) & 255));
  out << header << data;
}

class SafetensorsFile : public testing::Test {
 protected:
  std::string error_of(const std::string& header, const std::string& data,
                       std::optional<uint64_t> length = {}) {
    put(path_, header, data, length);
    return opening_error();
  }
  std::string opening_error() {
    try {
      SafetensorsReader reader(path_);
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(path_.string()));
      return e.what();
    }
    return "";
  }
  TemporaryDirectory dir_;
  fs::path path_ = dir_ / "t.safetensors";
};

TEST_F(SafetensorsFile, ReadsAHandWrittenFile) {
  // Order of the header is not the order of the data; trailing blanks are allowed; b is empty.
  put(path_,
      R"({"__metadata__":{"k":"v"},"c":{"dtype":"U8","shape":[2,1],"data_offsets":[4,6]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]}}   )",
      std::string("\0\0\x80\x3f", 4) + "xy");
  const SafetensorsReader reader(path_);
  ASSERT_EQ(reader.tensors().size(), 3u);
  EXPECT_EQ(reader.tensors()[0].name, "a");
  EXPECT_EQ(reader.tensors()[1].name, "b");
  EXPECT_EQ(reader.tensors()[2].name, "c");
  EXPECT_EQ(reader.metadata(), (Metadata{{"k", "v"}}));
  const TensorView* a = reader.find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_TRUE(a->shape.empty());
  float value;
  ASSERT_EQ(a->data.size(), sizeof value);
  std::memcpy(&value, a->data.data(), sizeof value);
  EXPECT_EQ(value, 1.0f);
  EXPECT_EQ(reader.find("b")->shape, (std::vector<int64_t>{3, 0}));
  EXPECT_EQ(reader.find("c")->dtype, DType::U8);
  EXPECT_EQ(reader.find("nothing"), nullptr);
  EXPECT_EQ(reader.path(), path_);
}

TEST_F(SafetensorsFile, ReadsAFileWithoutTensors) {
  put(path_, "{}", "");
  EXPECT_TRUE(SafetensorsReader(path_).tensors().empty());
}

TEST_F(SafetensorsFile, ViewsOutliveTheReaderTheyWereCopiedFrom) {
  put(path_, R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "z");
  std::optional<SafetensorsReader> first(path_);
  const SafetensorsReader copy = *first;
  first.reset();
  EXPECT_EQ(copy.find("a")->data[0], std::byte{'z'});
}

TEST_F(SafetensorsFile, WritesWhatItReads) {
  const std::vector<double> d{1.5, -2, 1e300};
  const std::vector<uint8_t> u{1, 2, 3, 4, 5};
  const std::vector<TensorView> tensors{
      {"blocks.0.w \"\xc3\xa9\n", DType::F64, {3, 1}, bytes_of(d)},
      {"u", DType::BOOL, {5}, bytes_of(u)},
      {"none", DType::BF16, {0, 7}, {}}};
  const Metadata metadata{{"step", "12"}, {"config", "a = \"b\"\n"}};
  write_safetensors(path_, tensors, metadata);
  const SafetensorsReader reader(path_);
  EXPECT_EQ(reader.metadata(), metadata);
  ASSERT_EQ(reader.tensors().size(), 3u);
  for (const TensorView& t : tensors) {
    const TensorView* read = reader.find(t.name);
    ASSERT_NE(read, nullptr) << t.name;
    EXPECT_EQ(read->dtype, t.dtype);
    EXPECT_EQ(read->shape, t.shape);
    EXPECT_TRUE(std::equal(read->data.begin(), read->data.end(), t.data.begin(), t.data.end()));
  }
  EXPECT_EQ(reinterpret_cast<uintptr_t>(reader.tensors()[0].data.data()) % 8, 0u);
}

// Sizes in bytes from the table of the format.
TEST(SafetensorsTypes, NamesAndSizes) {
  const std::pair<DType, std::pair<const char*, size_t>> expected[] = {
      {DType::BOOL, {"BOOL", 1}}, {DType::U8, {"U8", 1}},   {DType::I8, {"I8", 1}},
      {DType::I16, {"I16", 2}},   {DType::U16, {"U16", 2}}, {DType::F16, {"F16", 2}},
      {DType::BF16, {"BF16", 2}}, {DType::I32, {"I32", 4}}, {DType::U32, {"U32", 4}},
      {DType::F32, {"F32", 4}},   {DType::F64, {"F64", 8}}, {DType::I64, {"I64", 8}},
      {DType::U64, {"U64", 8}}};
  for (const auto& [dtype, info] : expected) {
    EXPECT_EQ(name_of(dtype), info.first);
    EXPECT_EQ(size_of(dtype), info.second);
  }
}

TEST_F(SafetensorsFile, RefusesABadLength) {
  std::ofstream(path_, std::ios::binary) << "short";
  EXPECT_THAT(opening_error(), testing::HasSubstr("5 bytes"));
  std::ofstream(path_, std::ios::binary) << "";
  EXPECT_NE(opening_error(), "");
  EXPECT_THAT(error_of("{}", "", 3), testing::HasSubstr("cut short"));
  EXPECT_THAT(error_of("{}", "", 100'000'001), testing::HasSubstr("100000000"));
  EXPECT_NE(error_of("{}", "", ~uint64_t{0}), "");
  EXPECT_NE(error_of("{}", "", 0), "");
  EXPECT_NE(error_of("{}", "", 1), "");
  EXPECT_NE(error_of(" {}", ""), "");  // must begin with {
}

TEST_F(SafetensorsFile, RefusesABadHeader) {
  EXPECT_NE(error_of("[]", ""), "");
  EXPECT_NE(error_of("{} x", ""), "");
  EXPECT_NE(error_of("{", ""), "");
  EXPECT_NE(error_of(std::string("{}\0", 3), ""), "");
  EXPECT_THAT(error_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                       "z"),
              testing::HasSubstr("twice"));
  EXPECT_THAT(
      error_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "z"),
      testing::HasSubstr("twice"));
  EXPECT_THAT(error_of(R"({"__metadata__":{"a":1}})", ""), testing::HasSubstr("no string"));
  EXPECT_NE(error_of(R"({"__metadata__":[]})", ""), "");
  EXPECT_NE(error_of("{\"a\xff\":1}", ""), "");
}

TEST_F(SafetensorsFile, RefusesWhatIsNestedOrUnknown) {
  const std::string good = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  EXPECT_EQ(error_of("{\"a\":{" + good + "}}", "z"), "");
  EXPECT_THAT(error_of("{\"a\":{" + good + R"(,"more":[[[]]]}})", "z"),
              testing::HasSubstr("unknown member \"more\""));
  EXPECT_NE(error_of(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "z"), "");
  EXPECT_NE(error_of(R"({"__metadata__":{"a":{}}})", ""), "");
  EXPECT_THAT(error_of("{\"a\":" + std::string(100'000, '['), ""), testing::HasSubstr("nested"));
}

TEST_F(SafetensorsFile, RefusesTooManyTensors) {
  std::string header = "{\"0\":0";
  for (int i = 1; i <= 1'000'000; ++i) header += ",\"" + std::to_string(i) + "\":0";
  EXPECT_THAT(error_of(header + "}", ""), testing::HasSubstr("1000001 tensors"));
}

TEST_F(SafetensorsFile, RefusesABadEntry) {
  const auto entry = [this](const std::string& fields) {
    return error_of("{\"w\":{" + fields + "}}", "1234");
  };
  EXPECT_EQ(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])"), "");
  for (const char* fields : {
           R"("shape":[4],"data_offsets":[0,4])",
           R"("dtype":"U8","data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4])",
           R"("dtype":8,"shape":[4],"data_offsets":[0,4])",
           R"("dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4])",
           R"("dtype":"u8","shape":[4],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":4,"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":["4"],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[-2,-2],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4,1,1,1,1,1,1,1,1],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0,4,4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[-1,3])",
           R"("dtype":"U8","shape":[4],"data_offsets":[4,0])",
           R"("dtype":"U8","shape":[5],"data_offsets":[0,5])",
           R"("dtype":"U8","shape":[3],"data_offsets":[0,4])",
           R"("dtype":"F32","shape":[4],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0,9223372036854775807])",
           // 2^32 * 2^32 = 0 and 2^62 * 4 + 4 = 4 modulo 2^64
           R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])",
           R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0])",
       })
    EXPECT_THAT(entry(fields), testing::HasSubstr("\"w\"")) << fields;
  EXPECT_NE(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551615])"), "");
}

TEST_F(SafetensorsFile, RefusesHolesAndOverlap) {
  const auto two = [this](int a0, int a1, int b0, int b1, size_t size) {
    std::ostringstream header;
    header << R"({"a":{"dtype":"U8","shape":[)" << a1 - a0 << R"(],"data_offsets":[)" << a0 << ","
           << a1 << R"(]},"b":{"dtype":"U8","shape":[)" << b1 - b0 << R"(],"data_offsets":[)" << b0
           << "," << b1 << "]}}";
    return error_of(header.str(), std::string(size, 'x'));
  };
  EXPECT_EQ(two(0, 2, 2, 4, 4), "");
  EXPECT_EQ(two(2, 4, 0, 2, 4), "");
  EXPECT_THAT(two(0, 2, 1, 3, 3), testing::HasSubstr("overlaps"));
  EXPECT_THAT(two(0, 4, 1, 2, 4), testing::HasSubstr("overlaps"));
  EXPECT_THAT(two(0, 2, 3, 4, 4), testing::HasSubstr("belong to no tensor"));
  EXPECT_THAT(two(1, 2, 2, 4, 4), testing::HasSubstr("belong to no tensor"));
  EXPECT_THAT(two(0, 2, 2, 4, 5), testing::HasSubstr("belong to no tensor"));
  EXPECT_THAT(two(0, 2, 2, 4, 3), testing::HasSubstr("cut short"));
}

TEST_F(SafetensorsFile, RefusesALongName) {
  const auto named = [this](size_t n) {
    return error_of(
        "{\"" + std::string(n, 'n') + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "z");
  };
  EXPECT_EQ(named(1024), "");
  EXPECT_THAT(named(1025), testing::HasSubstr("1025"));
  EXPECT_NE(named(0), "");
}

// Every prefix of a good file must be refused, whatever it ends with.
TEST_F(SafetensorsFile, RefusesEveryTruncation) {
  const std::vector<float> x{1, 2, 3};
  write_safetensors(path_, {{"x", DType::F32, {3}, bytes_of(x)}}, {{"a", "b"}});
  const std::string whole = read_file(path_);
  for (size_t n = 0; n < whole.size(); ++n) {
    std::ofstream(path_, std::ios::binary) << whole.substr(0, n);
    EXPECT_NE(opening_error(), "") << n;
  }
}

// Any single changed header byte is either refused or still gives views inside the file.
TEST_F(SafetensorsFile, ChangedBytesNeverReachOutside) {
  const std::vector<float> x{1, 2, 3};
  write_safetensors(path_, {{"x", DType::F32, {3}, bytes_of(x)}});
  const std::string whole = read_file(path_);
  for (size_t i = 0; i < whole.size() - 12; ++i) {
    for (const char c : {'\0', '0', '9', '"', '}', '\xff'}) {
      std::string changed = whole;
      changed[i] = c;
      std::ofstream(path_, std::ios::binary) << changed;
      try {
        const SafetensorsReader reader(path_);
        size_t total = 0;
        for (const TensorView& t : reader.tensors()) total += t.data.size();
        EXPECT_EQ(total, 12u);
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(SafetensorsFile, WriterRefusesWhatTheReaderWould) {
  const std::vector<uint8_t> u{1, 2, 3, 4};
  const auto error = [&](const std::vector<TensorView>& tensors) -> std::string {
    try {
      write_safetensors(path_, tensors);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  const TensorView good{"a", DType::U8, {4}, bytes_of(u)};
  EXPECT_EQ(error({good}), "");
  fs::remove(path_);
  EXPECT_THAT(error({good, good}), testing::HasSubstr("twice"));
  EXPECT_NE(error({{"__metadata__", DType::U8, {4}, bytes_of(u)}}), "");
  EXPECT_NE(error({{"", DType::U8, {4}, bytes_of(u)}}), "");
  EXPECT_NE(error({{std::string(1025, 'n'), DType::U8, {4}, bytes_of(u)}}), "");
  EXPECT_NE(error({{"a\xff", DType::U8, {4}, bytes_of(u)}}), "");
  EXPECT_THAT(error({{"a", DType::U8, {5}, bytes_of(u)}}), testing::HasSubstr("[5]"));
  EXPECT_NE(error({{"a", DType::U8, {-4}, bytes_of(u)}}), "");
  EXPECT_NE(error({{"a", DType::U8, {4, 1, 1, 1, 1, 1, 1, 1, 1}, bytes_of(u)}}), "");
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(SafetensorsFile, AFailedWriteKeepsTheOldFile) {
  const std::vector<uint8_t> u{1, 2, 3, 4};
  write_safetensors(path_, {{"old", DType::U8, {4}, bytes_of(u)}});
  test::FailingFileSystem files(test::FailingFileSystem::Fault::stay_full, 2);
  {
    const auto guard = replace_file_system(files);
    EXPECT_THROW(write_safetensors(path_, {{"new", DType::U8, {4}, bytes_of(u)}}), Error);
  }
  EXPECT_NE(SafetensorsReader(path_).find("old"), nullptr);
}

}  // namespace
}  // namespace gallop::formats
